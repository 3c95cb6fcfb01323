"""The order of the data: a function of corpus and seed alone, the same for every model, machine and restart."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DataOrder:
    """In which order the sequences of the corpus are read; a sequence is `n_ctx` tokens, in the order of the shards.

    Every epoch is a permutation of its own, so no sequence is read twice before all were read once. Steps, batches
    and ranks only cut this order into pieces.
    """

    n_sequences: int
    seed: int

    def sequences(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the sequences at some places of the order, counted from 0 over all epochs, [place]."""
        epochs, within = np.divmod(places, self.n_sequences)
        return np.array(
            [_permutation(self.n_sequences, self.seed, int(e))[i] for e, i in zip(epochs, within, strict=True)],
            dtype=np.int64,
        )


@lru_cache(maxsize=2)
def _permutation(n_sequences: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(n_sequences)
