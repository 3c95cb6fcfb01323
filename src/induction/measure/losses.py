"""Per-token losses of every snapshot on the evaluation set.

Axes: B example, T position, D residual stream, N any row, V vocabulary.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from induction.models.snapshots import open_snapshots
from induction.models.transformer import Transformer
from induction.tables.losses import LOSSES

BATCH_TOKENS = 4096
"""Tokens that go through a model at once: few enough that a CPU's caches hold an activation."""
_LOGITS_AT_ONCE = 1 << 21
_LEAST_ROWS = 256


def losses(manifest: Path, tokens: NDArray[np.int32], out: Path, *, provenance: dict[str, str], device: str) -> None:
    """Write the loss of every token of every example, for every snapshot of a block.

    Args:
        manifest: the block's manifest.
        tokens: evaluation examples, [example, start token and n_tokens].
        out: the part of the table `losses`.
        provenance: goes into the footer.
        device: where to compute.
    """
    tokens_BT = torch.from_numpy(tokens).long().to(device)
    with LOSSES.writer(out, **provenance) as table:
        for snapshot in open_snapshots(manifest, device=device):
            table.append(
                {
                    "step": snapshot.step,
                    "tokens": snapshot.tokens,
                    "example": np.arange(len(tokens)),
                    "loss": example_losses(snapshot.model, tokens_BT).cpu().numpy(),
                }
            )


@torch.inference_mode()
def example_losses(model: Transformer, tokens_BT: Tensor) -> Tensor:
    """Return the loss of every token but the first of each example, nats, [B, T - 1].

    Source: Olsson et al. 2022, per-token losses.
    """
    n_examples, n_tokens = tokens_BT.shape[0], tokens_BT.shape[1] - 1
    batch = max(1, BATCH_TOKENS // n_tokens)
    parts = []
    for some_BT in tokens_BT.split(batch):
        residual_BTD = model.embed(some_BT[:, :-1])
        for block in model.blocks:
            residual_BTD = block(residual_BTD)
        parts.append(row_losses(model, residual_BTD.flatten(0, 1), some_BT[:, 1:].flatten()))
    return torch.cat(parts).view(n_examples, n_tokens)


def row_losses(model: Transformer, residual_ND: Tensor, targets_N: Tensor) -> Tensor:
    """Return the loss of each row's target, nats, [N]; logits exist for a few rows at a time only.

    Args:
        model: its final LayerNorm and unembedding are used.
        residual_ND: the residual stream after the last block.
        targets_N: the tokens that follow.
    """
    rows = max(_LEAST_ROWS, _LOGITS_AT_ONCE // model.architecture.vocab_size)
    parts = []
    for some_ND, some_N in zip(residual_ND.split(rows), targets_N.split(rows), strict=True):
        logits_NV = model.unembed(some_ND).float()
        target_N = logits_NV.gather(1, some_N[:, None])[:, 0]
        parts.append(logits_NV.logsumexp(dim=1) - target_N)
    return torch.cat(parts)
