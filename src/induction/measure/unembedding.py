"""From the residual stream to losses, a part of the vocabulary and a few rows at a time.

Axes: N row, D residual stream, V part of the vocabulary.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from induction.models.chunks import at_once
from induction.models.transformer import LOG2_E, Transformer, exact_sums

_VOCABULARY_AT_ONCE = 1024
_ROWS_AT_ONCE = 512
"""Rows whose logits of so many tokens exist at once."""


def row_losses(model: Transformer, residual_ND: Tensor, targets_N: Tensor) -> Tensor:
    """Return the loss of each row's target, nats, [N]; logits exist for a few rows and tokens at a time only.

    Args:
        model: its final LayerNorm and unembedding are used.
        residual_ND: the residual stream after the last block.
        targets_N: the tokens that follow.
    """
    return normed_losses(model, model.ln_final(residual_ND), targets_N)


def normed_losses(model: Transformer, normed_ND: Tensor, targets_N: Tensor) -> Tensor:
    """Return the same of rows that the final LayerNorm has been applied to already, [N]."""
    n_rows = at_once(_ROWS_AT_ONCE, targets_N.device)
    rows = zip((normed_ND * LOG2_E).split(n_rows), targets_N.split(n_rows), strict=True)
    return torch.cat([_few_losses(model, some_ND, some_N) for some_ND, some_N in rows])


def _few_losses(model: Transformer, scaled_ND: Tensor, targets_N: Tensor, greatest_N: Tensor | None = None) -> Tensor:
    """Return the losses of rows whose logits are exponents of 2.

    What softmax takes from the logits first, the greatest of each row, is given only once the sum of their powers has
    left the range in which it is exact: it would cost another pass over the logits.
    """
    total_N = torch.zeros(len(targets_N), device=targets_N.device)
    target_N = torch.zeros_like(total_N)
    for first, some_DV in vocabulary_parts(model):
        logits_NV = (scaled_ND @ some_DV).float()
        if greatest_N is not None:
            logits_NV -= greatest_N[:, None]
        place_N = targets_N - first
        inside_N = place_N.clamp(0, some_DV.shape[1] - 1)
        target_N = torch.where(place_N == inside_N, logits_NV.gather(1, inside_N[:, None])[:, 0], target_N)
        total_N += logits_NV.exp2_().sum(dim=1)
    if greatest_N is None and not exact_sums(total_N):
        parts = [(scaled_ND @ some_DV).float().amax(dim=1) for _, some_DV in vocabulary_parts(model)]
        return _few_losses(model, scaled_ND, targets_N, torch.stack(parts).amax(dim=0))
    return ((total_N.log2() - target_N) / LOG2_E).clamp_min(0)  # a sure prediction's may round to less


def vocabulary_parts(model: Transformer) -> Iterator[tuple[int, Tensor]]:
    """Yield the unembedding a part of the vocabulary at a time: its first token, and its columns, [D, V]."""
    n_tokens = at_once(_VOCABULARY_AT_ONCE, model.W_U.device)
    for first in range(0, model.W_U.shape[1], n_tokens):
        yield first, model.W_U[:, first : first + n_tokens]


class LossSums:
    """Log-sum-exps and targets' logits of rows, gathered from parts of the vocabulary."""

    def __init__(self, targets_N: Tensor) -> None:
        self._targets_N = targets_N
        self._lse_N = torch.full(targets_N.shape, -torch.inf, device=targets_N.device)
        self._target_N = torch.zeros(targets_N.shape, device=targets_N.device)

    def chunks(self) -> list[slice]:
        """Return the rows in runs whose logits fit a CPU's cache, or keep a GPU busy."""
        n_rows = at_once(_ROWS_AT_ONCE, self._targets_N.device)
        return [slice(first, first + n_rows) for first in range(0, len(self._targets_N), n_rows)]

    def add(self, rows: slice, first: int, logits_NV: Tensor) -> None:
        """Add the logits of some rows for the tokens from `first` on."""
        logits_NV = logits_NV.float()
        # log_softmax is torch's fastest way to sum exponentials; the greatest column tells the sum best.
        lse_N = logits_NV.amax(1) - logits_NV.log_softmax(1).amax(1)
        self._lse_N[rows] = torch.logaddexp(self._lse_N[rows], lse_N)
        places_N = self._targets_N[rows] - first
        inside_N = (places_N >= 0) & (places_N < logits_NV.shape[1])
        chosen_N = logits_NV.gather(1, places_N.clamp(0, logits_NV.shape[1] - 1)[:, None])[:, 0]
        self._target_N[rows] += torch.where(inside_N, chosen_N, 0.0)

    def losses(self) -> Tensor:
        """Return the losses, nats, [N], once the whole vocabulary has been added."""
        return self._lse_N - self._target_N
