"""Losses by token index: bins of equal width in ln(index), and means over spans of indices. Indices are 1-based."""

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]

BIN = 0.25
"""Width of a bin of losses by index, in ln(index); the first indices are further apart and have a bin each."""


def loss_by_index(rows: pl.DataFrame) -> Floats:
    """Return the mean loss of each token at each snapshot, nats, [snapshot, index], of rows of table `curves`."""
    return np.array(rows["loss_by_index"].to_list(), dtype=np.float64)


def log_bins(n_tokens: int, width: float) -> list[tuple[int, int]]:
    """Return the first and last index of bins of equal width in ln(index); those that hold no index are left out.

    Args:
        n_tokens: the last index.
        width: of a bin, in ln(index).
    """
    number = np.floor(np.log(np.arange(1, n_tokens + 1)) / width + 1e-9)
    firsts = np.flatnonzero(np.diff(number, prepend=-1)) + 1
    lasts = [*(firsts[1:] - 1), n_tokens]
    return [(int(first), int(last)) for first, last in zip(firsts, lasts, strict=True)]


def mean_over(loss: Floats, span: tuple[int, int]) -> Floats:
    """Return the mean of losses [..., index] over a span of indices, both ends included."""
    return np.asarray(loss[..., span[0] - 1 : span[1]].mean(axis=-1))


def binned(loss: Floats, bins: list[tuple[int, int]]) -> Floats:
    """Return the mean of losses [..., index] in each bin, [..., bin]."""
    return np.stack([mean_over(loss, span) for span in bins], axis=-1)


def middles(bins: list[tuple[int, int]]) -> Floats:
    """Return the geometric mean of each bin's ends."""
    return np.sqrt([first * last for first, last in bins])
