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
from induction.files import replacing

_METADATA = "induction"
"""The one key of the header: several would be written in an order that changes from run to run."""
_ALIGNMENT = 8
_PIECE_NUMBERS = 1 << 22


class TensorWriter:
    """Takes the tensors of a file, in the order of their names; made by `tensor_writer`."""

    def __init__(
        self, file: Any, shapes: Mapping[str, tuple[int, ...]], about: dict[str, Any], *, hashed: bool
    ) -> None:
        self._file = file
        self._digest = hashlib.sha256() if hashed else None
        self._left = sorted(shapes)
        self._shapes = shapes
        header: dict[str, Any] = {"__metadata__": {_METADATA: json.dumps(about, sort_keys=True)}}
        end = 0
        for name in self._left:
            start, end = end, end + 4 * torch.Size(shapes[name]).numel()
            header[name] = {"dtype": "F32", "shape": list(shapes[name]), "data_offsets": [start, end]}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % _ALIGNMENT)
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
        """See that every tensor has come."""
        if self._left:
            raise ValueError(f"tensors are missing: {', '.join(self._left)}")

    @property
    def sha256(self) -> str:
        """The SHA-256 of what is written so far: of the file, once it is whole; empty where none is made."""
        return self._digest.hexdigest() if self._digest else ""

    def _write(self, content: Any) -> None:
        if self._digest:
            self._digest.update(content)
        self._file.write(content)


@contextmanager
def tensor_writer(
    path: Path, shapes: Mapping[str, tuple[int, ...]], about: dict[str, Any], *, hashed: bool = True
) -> Iterator[TensorWriter]:
    """Write a file of float32 tensors, whole or not at all. Same content, same bytes, those of the safetensors library.

    Args:
        path: the file.
        shapes: of the tensors, by name.
        about: JSON in the header.
        hashed: make the file's SHA-256 on the way.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        writer = TensorWriter(file, shapes, about, hashed=hashed)
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
        with safe_open(path, framework="pt", device=device) as file:
            about = json.loads((file.metadata() or {})[_METADATA])
            yield _Tensors(file), about
    except FileNotFoundError:
        raise InductionError(f"{path}: this {what} does not exist") from None
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise InductionError(f"{path}: not a whole {what} ({error})") from None


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
