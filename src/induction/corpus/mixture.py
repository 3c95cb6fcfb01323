"""The largest mixture of sources whose shares of the tokens are the asked weights."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


def largest_mixture(
    sources: NDArray[np.int64], n_tokens: NDArray[np.int64], weights: Sequence[float | None]
) -> NDArray[np.bool_]:
    """Decide which documents are used; of each source the first ones, as many as its share allows.

    Args:
        sources: number of each document's source, in the documents' order.
        n_tokens: tokens of each document.
        weights: relative share of each source; where one is None, all documents are used.

    Returns:
        Whether each document is used. Each source's tokens fall short of its share by less than one document.
    """
    relative = [Fraction(weight) for weight in weights if weight is not None]
    if len(relative) < len(weights):
        return np.ones(len(sources), dtype=np.bool_)
    members = [sources == source for source in range(len(weights))]
    scale = min(
        Fraction(int(n_tokens[member].sum())) / weight for member, weight in zip(members, relative, strict=True)
    )
    used = np.zeros(len(sources), dtype=np.bool_)
    for member, weight in zip(members, relative, strict=True):
        used[member] = np.cumsum(n_tokens[member]) <= int(scale * weight)
    return used
