"""A corpus's folder, opened: memory-mapped tokens, checked against the manifest.

The manifest is checked when a corpus is opened, a small file when its values are first asked for, and the shards, which
can be hundreds of gigabytes, by `OpenCorpus.verify`, once in every job of training.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from induction.errors import InductionError
from induction.files import cannot_read, sha256_file
from induction.tables.manifests import read_manifest, remake_corpus

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
HELD_OUT = "held_out.npy"
HELD_OUT_OFFSETS = "held_out_offsets.npy"
TOKEN_COUNTS = "token_counts.npy"

_UINT16_TOKENS = 2**16


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """Return the type of stored tokens: two bytes where the vocabulary fits, else four."""
    return np.dtype("<u2" if vocab_size <= _UINT16_TOKENS else "<u4")


@dataclass(frozen=True)
class OpenCorpus:
    """A corpus on disk; made by `open_corpus`."""

    folder: Path
    name: str
    fingerprint: str
    """Identifies all of it."""
    training_fingerprint: str
    """Identifies what training reads; the same whether overlapping held-out documents are dropped or not."""
    vocab_size: int
    start_token: int
    shards: tuple[NDArray[Any], ...]
    """Not yet checked against their hashes: see `verify`."""
    shard_offsets: NDArray[np.int64]
    """Training tokens before each shard, and of all, [shards + 1]."""
    shard_hashes: tuple[tuple[str, str], ...]
    """File and SHA-256 of each shard."""
    other_hashes: Mapping[str, str]
    """SHA-256 of the other files, by name."""
    others: Mapping[str, NDArray[Any]]
    """The other arrays, by name of file, not yet checked."""

    @cached_property
    def held_out(self) -> NDArray[Any]:
        """Tokens of the documents kept out of training, one after the other, each from its start token."""
        return self._checked(HELD_OUT)

    @cached_property
    def held_out_offsets(self) -> NDArray[np.int64]:
        """Where each of those documents starts, and the end of the last, [documents + 1]."""
        return self._checked(HELD_OUT_OFFSETS)

    @cached_property
    def token_counts(self) -> NDArray[np.int64]:
        """Occurrences of each token in the training tokens, [V]."""
        return self._checked(TOKEN_COUNTS)

    @property
    def n_train_tokens(self) -> int:
        """Training tokens of all shards, start tokens included."""
        return int(self.shard_offsets[-1])

    def verify(self, part: int = 0, n_parts: int = 1) -> None:
        """Check shards against their hashes; reads them whole.

        Args:
            part: which of so many parts to check, from 0: processes that train together share the shards.
            n_parts: how many parts there are.

        Raises:
            InductionError: a shard has changed since the manifest was written.
        """
        for name, sha256 in self.shard_hashes[part::n_parts]:
            _check_hash(self.folder / name, sha256)

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return training tokens `start` to `stop` (not included), across the borders of shards.

        Raises:
            IndexError: the corpus does not have these tokens.
        """
        if not 0 <= start <= stop <= self.n_train_tokens:
            raise IndexError(f"tokens {start} to {stop} of {self.n_train_tokens} in {self.folder}")
        tokens = np.empty(stop - start, dtype=np.int64)
        first = int(np.searchsorted(self.shard_offsets, start, side="right")) - 1
        for shard, offset in zip(self.shards[first:], self.shard_offsets[first:], strict=False):
            if offset >= stop:
                break
            piece = shard[max(start - offset, 0) : stop - offset]
            begin = max(offset - start, 0)
            tokens[begin : begin + len(piece)] = piece
        return tokens

    def _checked(self, name: str) -> NDArray[Any]:
        _check_hash(self.folder / name, self.other_hashes[name])
        return self.others[name]


def open_corpus(folder: Path) -> OpenCorpus:
    """Open a corpus that `induction.corpus.build` wrote, each file checked for its type and size.

    Raises:
        InductionError: the manifest has changed since it was written, or a file is missing, truncated or not the one
            that the manifest describes.
    """
    manifest = read_manifest(folder / MANIFEST)
    try:
        vocab_size, n_documents = manifest["vocab_size"], manifest["n_held_out_documents"]
        dtype, int64 = token_dtype(vocab_size), np.dtype("<i8")
        sizes = [shard["n_tokens"] for shard in manifest["shards"]]
        sizes_of_others = {
            HELD_OUT: (dtype, manifest["n_held_out_tokens"]),
            HELD_OUT_OFFSETS: (int64, n_documents + 1),
            TOKEN_COUNTS: (int64, vocab_size),
        }
        return OpenCorpus(
            folder=folder,
            name=manifest["name"],
            fingerprint=manifest["fingerprint"],
            # Corpora made before held-out documents could be dropped have one fingerprint for both.
            training_fingerprint=manifest.get("training_fingerprint", manifest["fingerprint"]),
            vocab_size=vocab_size,
            start_token=manifest["start_token"],
            shards=tuple(_mapped(folder / shard["file"], dtype, shard["n_tokens"]) for shard in manifest["shards"]),
            shard_offsets=np.cumsum([0, *sizes], dtype=np.int64),
            shard_hashes=tuple((shard["file"], shard["sha256"]) for shard in manifest["shards"]),
            other_hashes={name: manifest["files"][name] for name in (TOKENIZER, *sizes_of_others)},
            others={name: _mapped(folder / name, *size) for name, size in sizes_of_others.items()},
        )
    except (KeyError, TypeError) as error:
        raise InductionError(
            f"{folder / MANIFEST}: not the manifest of a corpus ({error} is missing or wrong). {_remake(folder)}"
        ) from None


def check_file(folder: Path, name: str) -> None:
    """Check a file of a corpus, other than a shard, against the manifest.

    Raises:
        InductionError: it is missing, or has changed since the manifest was written.
    """
    _check_hash(folder / name, read_manifest(folder / MANIFEST)["files"].get(name))


def _mapped(path: Path, dtype: np.dtype[Any], n_values: int) -> NDArray[Any]:
    try:
        # As a plain array: slices of np.memmap objects cost microseconds more.
        values = np.asarray(np.load(path, mmap_mode="r"))
    except OSError as error:
        if error.errno is not None:
            raise _unreadable(path, error) from error
        raise _damaged(path, error) from None
    except Exception as error:  # numpy lets those of Python's parser through, which reads the header
        raise _damaged(path, error) from None
    if values.dtype != dtype or values.shape != (n_values,):
        raise InductionError(
            f"{path}: holds {values.dtype} of shape {values.shape}; the corpus's manifest says {n_values} values of "
            f"{dtype}. {_remake(path.parent)}"
        )
    return values


def _check_hash(path: Path, sha256: str | None) -> None:
    try:
        is_same = sha256_file(path) == sha256
    except OSError as error:
        raise _unreadable(path, error) from error
    if not is_same:
        raise _changed(path)


def _damaged(path: Path, error: Exception) -> InductionError:
    return InductionError(f"{path}: truncated or damaged ({error}). {_remake(path.parent)}")


def _changed(path: Path) -> InductionError:
    return InductionError(
        f"{path}: this file has changed since the corpus's manifest was written. {_remake(path.parent)}"
    )


def _unreadable(path: Path, error: OSError) -> InductionError:
    if isinstance(error, FileNotFoundError):
        return InductionError(
            f"{path}: the corpus's manifest names this file, and it is missing. {_remake(path.parent)}"
        )
    return cannot_read(path, "file of a corpus", error)


def _remake(folder: Path) -> str:
    return remake_corpus(folder / MANIFEST)
