"""How much of the held-out text occurs in the training text: shared runs of 50 tokens, found by their hashes.

The held-out runs are hashed and sorted; the training tokens are then read once, in their order. A run lies within one
document: start tokens belong to none, and no text holds one. Two runs that are alike have the same 64-bit hash; two
that differ have the same one about once in 2^64 pairs.

Memory: at most `MOST_RUNS` runs are kept, some 0.6 GB. Of more, a sample: those whose hash is below a bound, in both
texts, so that a run is kept or left out wherever it occurs. Time: about 30 ns a training token on one core, 10 ns with
a sample of a sixteenth; making a token takes over 1,000.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from induction.corpus.split import Split

N_TOKENS = 50
"""Length of a run: with a vocabulary of 1,024 tokens about 120 characters, with one of 65,536 about 220."""
MOST_RUNS = 2**24

_BLOCK = 2**15  # tokens at a time: arrays of eight bytes a token that stay in a core's cache
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_FILTER_PLACES_A_RUN = 16  # at least: a place is a byte

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Overlap:
    """What held-out documents share with the training text, document by document."""

    n_runs: NDArray[np.int64]
    """Runs of each document that were looked for, [documents]; none in a document shorter than a run."""
    n_found: NDArray[np.int64]
    """Those among them that occur in the training text, [documents]."""

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of each document's runs that occur in the training text; 0 where it has none, [documents]."""
        return self.n_found / np.maximum(self.n_runs, 1)

    def share_of(self, documents: NDArray[np.bool_]) -> float:
        """Return the share of all runs of some documents that occur in the training text."""
        return float(self.n_found[documents].sum() / max(self.n_runs[documents].sum(), 1))


class HeldOutRuns:
    """The runs of held-out documents; shown the training tokens, it knows which of them occur there.

    Args:
        held_out: the documents, each with a start token before it.
        vocab_size: tokens of the vocabulary.
    """

    def __init__(self, held_out: Split, vocab_size: int) -> None:
        self._held_out = held_out
        self._hash = _RunHash(vocab_size)
        n_runs = np.maximum(held_out.n_tokens - N_TOKENS, 0).sum()  # the start token is not text
        self._sampled_bits = max(int(np.ceil(np.log2(max(n_runs, 1) / MOST_RUNS))), 0)
        hashes = [hashes for _, hashes in self._by_document()]
        runs = np.sort(np.concatenate(hashes)) if hashes else np.empty(0, np.uint64)
        self._runs = runs[np.diff(runs, prepend=~runs[:1]) != 0]  # each once; np.unique takes 20 times as long
        self._found = np.zeros(len(self._runs), dtype=np.bool_)
        filter_bits = max(int(np.ceil(np.log2(max(len(self._runs), 1) * _FILTER_PLACES_A_RUN))), 1)
        self._shift = np.uint64(64 - self._sampled_bits - filter_bits)
        self._filter = np.zeros(2**filter_bits, dtype=np.bool_)
        self._filter[self._runs >> self._shift] = True
        self._before = np.empty(0, dtype=np.int64)

    def look_for(self, tokens: NDArray[np.integer]) -> None:
        """Look at the next training tokens, which follow those of the call before."""
        for start in range(0, len(tokens), _BLOCK):
            block = np.concatenate([self._before, tokens[start : start + _BLOCK]])
            self._before = block[max(len(block) - N_TOKENS + 1, 0) :]
            hashes = self._sample(self._hash(block))
            hashes = np.sort(
                hashes[self._filter.take((hashes >> self._shift).view(np.int64))]
            )  # in order: less memory to read
            at = np.searchsorted(self._runs, hashes)
            at, hashes = at[at < len(self._runs)], hashes[at < len(self._runs)]
            self._found[at[self._runs[at] == hashes]] = True

    def overlap(self) -> Overlap:
        """Return what was found so far."""
        n_runs = np.zeros(len(self._held_out.n_tokens), dtype=np.int64)
        n_found = np.zeros_like(n_runs)
        for document, hashes in self._by_document():
            n_runs[document] = len(hashes)
            n_found[document] = self._found[np.searchsorted(self._runs, np.sort(hashes))].sum()
        return Overlap(n_runs, n_found)

    def _by_document(self) -> Iterator[tuple[int, Hashes]]:
        tokens = np.memmap(self._held_out.path, dtype=self._held_out.dtype, mode="r")
        ends = np.cumsum(self._held_out.n_tokens)
        for document, (end, n_tokens) in enumerate(zip(ends, self._held_out.n_tokens, strict=True)):
            text = tokens[end - n_tokens + 1 : end]
            starts = range(0, len(text) - N_TOKENS + 1, _BLOCK)
            parts = [self._sample(self._hash(text[start : start + _BLOCK + N_TOKENS - 1])) for start in starts]
            if parts:
                yield document, np.concatenate(parts)

    def _sample(self, hashes: Hashes) -> Hashes:
        return hashes[hashes >> np.uint64(64 - self._sampled_bits) == 0] if self._sampled_bits else hashes


class _RunHash:
    """Hashes of all runs of some tokens: the sum of each token's random number times a power of a base, modulo 2^64."""

    def __init__(self, vocab_size: int) -> None:
        self._numbers = np.random.PCG64(0).random_raw(vocab_size)
        self._powers = _powers(_BASE, _BLOCK + N_TOKENS)
        self._inverses = _powers(pow(_BASE, -1, 2**64), _BLOCK + N_TOKENS)

    def __call__(self, tokens: NDArray[np.integer]) -> Hashes:
        """Return the hash of the run at each place, [len(tokens) - N_TOKENS + 1], of at most a block's tokens."""
        if len(tokens) < N_TOKENS:
            return np.empty(0, dtype=np.uint64)
        sums = np.zeros(len(tokens) + 1, dtype=np.uint64)
        np.cumsum(self._numbers.take(tokens) * self._powers[: len(tokens)], out=sums[1:])
        return (sums[N_TOKENS:] - sums[:-N_TOKENS]) * self._inverses[: len(tokens) - N_TOKENS + 1]


def _powers(base: int, n: int) -> Hashes:
    powers = np.full(n, base, dtype=np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)
