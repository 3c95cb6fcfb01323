"""The documents of training, or of evaluation, as one file of tokens from which the used ones are taken."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from induction.files import replacing

_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class Split:
    """All documents of one kind, in order; `used` says which of them the corpus keeps."""

    path: Path
    """Their tokens, one document after the other, nothing else."""
    dtype: np.dtype[Any]
    sources: NDArray[np.int64]
    n_tokens: NDArray[np.int64]
    n_characters: NDArray[np.int64]
    used: NDArray[np.bool_]
    dropped: NDArray[np.bool_]
    """Those that are left out whatever the mixture, because of what they share with training."""

    @cached_property
    def used_offsets(self) -> NDArray[np.int64]:
        """Where each used document starts among the used tokens, and their number, [used documents + 1]."""
        return np.concatenate([[0], np.cumsum(self.n_tokens[self.used])])

    @property
    def n_used_tokens(self) -> int:
        """Tokens of the used documents, start tokens included."""
        return int(self.used_offsets[-1])

    def counts(self, source: int | None = None) -> dict[str, int]:
        """Count documents and tokens, used and unused, of all sources or of one."""
        asked = np.ones_like(self.used) if source is None else self.sources == source
        used, unused = asked & self.used, asked & ~self.used & ~self.dropped
        return {
            "n_documents": int(used.sum()),
            "n_tokens": int(self.n_tokens[used].sum()),
            "n_characters": int(self.n_characters[used].sum()),
            "n_unused_documents": int(unused.sum()),
            "n_unused_tokens": int(self.n_tokens[unused].sum()),
        }

    def write(self, path: Path, start: int, stop: int) -> None:
        """Write the used tokens `start` to `stop` (not included) as a .npy file."""
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (stop - start,)}
        with replacing(path) as temporary, temporary.open("wb", buffering=_BUFFER_BYTES) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for piece in self._pieces(start, stop):
                file.write(piece.data)

    def _pieces(self, start: int, stop: int) -> Iterator[NDArray[Any]]:
        tokens = np.asarray(np.memmap(self.path, dtype=self.dtype, mode="r"))
        begins = (np.cumsum(self.n_tokens) - self.n_tokens)[self.used]
        first = int(np.searchsorted(self.used_offsets, start, side="right")) - 1
        last = int(np.searchsorted(self.used_offsets, stop, side="left"))
        for document in range(first, last):
            offset, end = self.used_offsets[document : document + 2]
            shift = begins[document] - offset
            yield tokens[max(start, offset) + shift : min(stop, end) + shift]
