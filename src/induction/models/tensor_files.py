"""Tensors on disk as safetensors, written and read one at a time: a model need not be in memory twice."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from induction.errors import InductionError
from induction.files import cannot_read, replacing

_METADATA = "induction"
"""The one key of the header: several would be written in an order that changes from run to run."""
_ALIGNMENT = 8
_PIECE_NUMBERS = 1 << 22
_READ_BYTES = 1 << 20
SEAL = "file_sha256"
"""Of what a sealed file is about: the SHA-256 of the file, these digits taken as zeros."""
_NO_SEAL = "0" * 64


class TensorWriter:
    """Takes the tensors of a file, in the order of their names; made by `tensor_writer`."""

    def __init__(
        self, file: Any, shapes: Mapping[str, tuple[int, ...]], about: dict[str, Any], *, sealed: bool
    ) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._left = sorted(shapes)
        self._sealed = sealed
        if sealed:
            about = {**about, SEAL: _NO_SEAL}
        self._shapes = shapes
        header: dict[str, Any] = {"__metadata__": {_METADATA: json.dumps(about, sort_keys=True)}}
        end = 0
        for name in self._left:
            start, end = end, end + 4 * torch.Size(shapes[name]).numel()
            header[name] = {"dtype": "F32", "shape": list(shapes[name]), "data_offsets": [start, end]}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % _ALIGNMENT)
        self._seal_at = 8 + _seal_place(text) if sealed else 0
        self._write(len(text).to_bytes(8, "little") + text)

    def append(self, name: str, tensor: Tensor) -> None:
        """Write the next tensor, float32."""
        if not self._left or name != self._left[0] or tuple(tensor.shape) != tuple(self._shapes[name]):
            raise ValueError(f"{name} of shape {tuple(tensor.shape)} is not the tensor that comes next")
        self._left.pop(0)
        # A piece at a time: a tensor of a GPU is copied to memory here.
        for piece in tensor.detach().float().flatten().split(_PIECE_NUMBERS):
            self._write(piece.cpu().numpy().astype("<f4", copy=False).data)

    def finish(self) -> None:
        """See that every tensor has come; write the hash into the header of a sealed file."""
        if self._left:
            raise ValueError(f"tensors are missing: {', '.join(self._left)}")
        if self._sealed:
            self._file.seek(self._seal_at)
            self._file.write(self._digest.hexdigest().encode())

    @property
    def sha256(self) -> str:
        """The SHA-256 of what is written so far: of the file, once it is whole; of a sealed one, without its seal."""
        return self._digest.hexdigest()

    def _write(self, content: Any) -> None:
        self._digest.update(content)
        self._file.write(content)


@contextmanager
def tensor_writer(
    path: Path, shapes: Mapping[str, tuple[int, ...]], about: dict[str, Any], *, sealed: bool = False
) -> Iterator[TensorWriter]:
    """Write a file of float32 tensors, whole or not at all. Same content, same bytes, those of the safetensors library.

    Args:
        path: the file.
        shapes: of the tensors, by name.
        about: JSON in the header.
        sealed: keep the file's SHA-256 in its header, where `check_seal` finds it.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        writer = TensorWriter(file, shapes, about, sealed=sealed)
        yield writer
        writer.finish()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: dict[str, Any]) -> None:
    """Write float32 tensors that are in memory; see `tensor_writer`."""
    with tensor_writer(path, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, about) as writer:
        for name in sorted(tensors):
            writer.append(name, tensors[name])


@contextmanager
def open_tensors(path: Path, what: str, device: str = "cpu") -> Iterator[tuple[Mapping[str, Tensor], dict[str, Any]]]:
    """Open a file that this module wrote: its tensors, read when they are asked for, and what they are about.

    Raises:
        InductionError: the file is missing, truncated, or not one of this program's.
    """
    try:
        path.open("rb").close()  # the library reports a file that it may not read as one that does not exist
        with safe_open(path, framework="pt", device=device) as file:
            about = json.loads((file.metadata() or {})[_METADATA])
            yield _Tensors(file), about
    except FileNotFoundError:
        raise InductionError(f"{path}: this {what} does not exist") from None
    except OSError as error:
        if error.filename is None:  # the library's own
            raise InductionError(f"{path}: not a whole {what} ({error})") from None
        raise cannot_read(path, what, error) from error
    except (SafetensorError, KeyError, ValueError) as error:
        raise InductionError(f"{path}: not a whole {what} ({error})") from None


def check_seal(path: Path, what: str) -> None:
    """See that a sealed file holds what was written; reads all of it.

    Raises:
        InductionError: it is missing, cannot be read, or has changed.
    """
    try:
        with path.open("rb") as file:
            length = file.read(8)
            header = file.read(min(int.from_bytes(length, "little"), path.stat().st_size))
            place = _seal_place(header)
            kept = header[place : place + len(_NO_SEAL)]
            digest = hashlib.sha256(length + header[:place] + _NO_SEAL.encode() + header[place + len(_NO_SEAL) :])
            while chunk := file.read(_READ_BYTES):
                digest.update(chunk)
    except FileNotFoundError:
        raise InductionError(f"{path}: this {what} does not exist") from None
    except OSError as error:
        raise cannot_read(path, what, error) from error
    except ValueError as error:
        raise InductionError(f"{path}: not a whole {what} ({error})") from None
    if kept != digest.hexdigest().encode():
        raise InductionError(f"{path}: this {what} has changed since it was written")


def _seal_place(header: bytes) -> int:
    """Return where the digits of a sealed file's hash begin in its header."""
    # `about` is JSON in a JSON string.
    return header.index(_SEAL_BEFORE) + len(_SEAL_BEFORE)


_SEAL_BEFORE = json.dumps(json.dumps({SEAL: ""}))[2:-4].encode()


def read_tensors(path: Path, what: str, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read all of a file; see `open_tensors`."""
    with open_tensors(path, what, device) as (tensors, about):
        return dict(tensors), about


class _Tensors(Mapping[str, Tensor]):
    def __init__(self, file: Any) -> None:
        self._file = file
        self._names = list(file.keys())

    def __getitem__(self, name: str) -> Tensor:
        return self._file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
