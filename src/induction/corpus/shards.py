"""A corpus's folder, opened: memory-mapped tokens, checked against the manifest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from induction.errors import InductionError
from induction.files import read_json

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
    shard_offsets: NDArray[np.int64]
    """Training tokens before each shard, and of all, [shards + 1]."""
    held_out: NDArray[Any]
    """Tokens of the documents kept out of training, one after the other, each from its start token."""
    held_out_offsets: NDArray[np.int64]
    """Where each of those documents starts, and the end of the last, [documents + 1]."""
    token_counts: NDArray[np.int64]
    """Occurrences of each token in the training tokens, [V]."""

    @property
    def n_train_tokens(self) -> int:
        """Training tokens of all shards, start tokens included."""
        return int(self.shard_offsets[-1])

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


def open_corpus(folder: Path) -> OpenCorpus:
    """Open a corpus that `induction.corpus.build` wrote, each file checked for its type and size.

    Raises:
        InductionError: a file is missing, truncated or not the one that the manifest describes.
    """
    manifest = read_json(folder / MANIFEST, "corpus manifest")
    try:
        vocab_size, n_documents = manifest["vocab_size"], manifest["n_held_out_documents"]
        dtype, int64 = token_dtype(vocab_size), np.dtype("<i8")
        sizes = [shard["n_tokens"] for shard in manifest["shards"]]
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
            held_out=_mapped(folder / HELD_OUT, dtype, manifest["n_held_out_tokens"]),
            held_out_offsets=_mapped(folder / HELD_OUT_OFFSETS, int64, n_documents + 1),
            token_counts=_mapped(folder / TOKEN_COUNTS, int64, vocab_size),
        )
    except (KeyError, TypeError) as error:
        raise InductionError(
            f"{folder / MANIFEST}: not the manifest of a corpus ({error} is missing or wrong). {_remake(folder)}"
        ) from None


def _mapped(path: Path, dtype: np.dtype[Any], n_values: int) -> NDArray[Any]:
    try:
        # As a plain array: slices of np.memmap objects cost microseconds more.
        values = np.asarray(np.load(path, mmap_mode="r"))
    except FileNotFoundError:
        raise InductionError(
            f"{path}: the corpus's manifest names this file, and it is missing. {_remake(path.parent)}"
        ) from None
    except (ValueError, EOFError, OSError) as error:
        raise InductionError(f"{path}: truncated or damaged ({error}). {_remake(path.parent)}") from None
    if values.dtype != dtype or values.shape != (n_values,):
        raise InductionError(
            f"{path}: holds {values.dtype} of shape {values.shape}; the corpus's manifest says {n_values} values of "
            f"{dtype}. {_remake(path.parent)}"
        )
    return values


def _remake(folder: Path) -> str:
    return f"Make the corpus again: snakemake --force {folder / MANIFEST}"
