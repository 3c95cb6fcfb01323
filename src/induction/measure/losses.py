"""Per-token losses of every snapshot on the evaluation set.

Axes: B example, T position, D residual stream.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from induction.measure.unembedding import row_losses
from induction.models.chunks import at_once
from induction.models.snapshots import open_snapshots
from induction.models.transformer import Transformer, attend
from induction.tables.losses import LOSSES

_ACTIVATIONS_AT_ONCE = 1 << 18
"""Numbers of the residual stream of the examples that go through a model at once: a CPU's cache holds them."""


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
            del snapshot  # before the next one is read


@torch.inference_mode()
def example_losses(model: Transformer, tokens_BT: Tensor) -> Tensor:
    """Return the loss of every token but the first of each example, nats, [B, T - 1].

    Source: Olsson et al. 2022, per-token losses.
    """
    n_examples, n_tokens = tokens_BT.shape[0], tokens_BT.shape[1] - 1
    tables = model.tables(n_examples * n_tokens)
    batch = max(1, at_once(_ACTIVATIONS_AT_ONCE, tokens_BT.device) // (n_tokens * model.architecture.d_model))
    parts = []
    for some_BT in tokens_BT.split(batch):
        read_BT, targets_BT = some_BT[:, :-1], some_BT[:, 1:]
        residual_BTD = model.embed(read_BT)
        for layer, block in enumerate(model.blocks):
            inputs = model.inputs(layer, residual_BTD, read_BT, tables)
            z_BHTE, _ = attend(*inputs, block.attn.mask(n_tokens))
            residual_BTD = block.after_attention(residual_BTD + block.attn.result(z_BHTE))
        parts.append(row_losses(model, residual_BTD.flatten(0, 1), targets_BT.flatten()))
    return torch.cat(parts).view(n_examples, n_tokens)
