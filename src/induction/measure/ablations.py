"""What each head is worth: losses of chosen snapshots with one head's result replaced.

Axes: B example, P asked position, T position.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from induction.measure.ablated_runs import Ablation, Losses, ablated_losses, single_heads
from induction.models.snapshots import open_snapshots
from induction.resampling import resample_weights, standard_error
from induction.study.analysis import Bootstrap
from induction.study.evaluation import Ablations, InContext
from induction.tables.ablations import ABLATIONS, FROZEN, FULL, INTACT, NONE, PATTERN_PRESERVING, RECOMPUTED, ZERO

Columns = dict[str, object]
Way = tuple[str, str, str]
"""Mode, replacement and norm of an ablation."""

PLAIN_WAYS: list[Way] = [(PATTERN_PRESERVING, ZERO, RECOMPUTED), (FULL, ZERO, RECOMPUTED)]
"""The paper's: nothing stands for a head's result."""


@dataclass(frozen=True)
class Asked:
    """The losses that are asked for: the same token indices of every example, and one of its own.

    `indices`: 1-based, ascending; `random_index`: 1-based, [example]; `weights_RB`: resamples of the examples.
    """

    indices: tuple[int, ...]
    random_index: NDArray[np.int64]
    in_context: InContext
    weights_RB: NDArray[np.float64]

    @classmethod
    def of(cls, in_context: InContext, random_index: NDArray[np.int64], bootstrap: Bootstrap) -> "Asked":
        """Ask for what in-context learning scores read, and for each example's random index."""
        first, last = in_context.early_window, in_context.late_window
        indices = {in_context.early, in_context.late, *range(first[0], first[1] + 1), *range(last[0], last[1] + 1)}
        return cls(tuple(sorted(indices)), random_index, in_context, resample_weights(len(random_index), bootstrap))

    def positions(self) -> NDArray[np.int64]:
        """Return the 0-based positions that predict the asked tokens, [B, P]; the last is the random index's."""
        same = np.broadcast_to(np.array(self.indices), (len(self.random_index), len(self.indices)))
        return np.concatenate([same, self.random_index[:, None]], axis=1) - 1

    def columns(self, ablation: Ablation | None, losses: Losses) -> Columns:
        """Return the columns that tell how heads were ablated and what is left; None: of the intact model."""
        losses_BP, intact_BP = (losses[which].cpu().numpy() for which in (ablation, None))
        windowed_B = self._windowed(losses_BP)
        change_B = windowed_B - self._windowed(intact_BP)
        late, early = self.indices.index(self.in_context.late), self.indices.index(self.in_context.early)
        mean_P = losses_BP.mean(axis=0, dtype=np.float64)
        return {
            "mode": ablation.mode if ablation else INTACT,
            "replacement": ablation.replacement if ablation else NONE,
            "norm": ablation.norm if ablation else RECOMPUTED,
            "loss": mean_P[-1],
            "icl_score": mean_P[late] - mean_P[early],
            "icl_windowed": windowed_B.mean(),
            "icl_change": change_B.mean(),
            "icl_change_se": float(standard_error(self.weights_RB @ change_B)),
            "random_index_loss": losses_BP[None, :, -1],
        }

    def _windowed(self, losses_BP: NDArray[np.float32]) -> NDArray[np.float64]:
        indices = np.array(self.indices)

        def mean_over(window: tuple[int, int]) -> NDArray[np.float64]:
            inside = np.flatnonzero((indices >= window[0]) & (indices <= window[1]))
            return np.asarray(losses_BP[:, inside].mean(axis=1, dtype=np.float64))

        return mean_over(self.in_context.late_window) - mean_over(self.in_context.early_window)


def ablations(
    manifest: Path,
    tokens: NDArray[np.int32],
    random_index: NDArray[np.int64],
    in_context: InContext,
    settings: Ablations,
    bootstrap: Bootstrap,
    steps: Iterable[int],
    steps_every_way: Collection[int],
    out: Path,
    *,
    provenance: dict[str, str],
    device: str,
) -> None:
    """Ablate every head of a block's chosen snapshots; write a part of the table `ablations`.

    Args:
        manifest: the block's manifest.
        tokens: evaluation examples, [example, start token and n_tokens].
        random_index: of each example, 1-based, [example].
        in_context: the scores whose losses are asked for.
        settings: how many examples, and what stands for a head's result.
        bootstrap: the resamples behind standard errors.
        steps: the snapshots, all of this block.
        steps_every_way: those of them that are ablated in every way; the others with results set to zero alone.
        out: the part of the table.
        provenance: goes into the footer.
        device: where to compute.
    """
    tokens_BT = torch.from_numpy(tokens[: settings.n_examples]).long().to(device)
    asked = Asked.of(in_context, random_index[: settings.n_examples], bootstrap)
    positions_BP = torch.from_numpy(asked.positions()).to(device)
    with ABLATIONS.writer(out, **provenance) as table:
        for snapshot in open_snapshots(manifest, steps, device):
            ways = every_way(settings) if snapshot.step in steps_every_way else PLAIN_WAYS
            singles = [one for way in ways for one in single_heads(snapshot.model, *way)]
            losses = ablated_losses(snapshot.model, tokens_BT, positions_BP, singles)
            for ablation in losses:
                layer, head = ablation.heads[0] if ablation else (None, None)
                place = {"layer": [layer], "head": [head]}
                told = asked.columns(ablation, losses)
                table.append({"step": snapshot.step, "tokens": snapshot.tokens, **place, **told})
            del snapshot  # before the next one is read


def every_way(settings: Ablations) -> list[Way]:
    """Return all ways of ablating: the paper's; with patterns kept, each replacement, and norms frozen."""
    others = [(PATTERN_PRESERVING, kind, RECOMPUTED) for kind in settings.replacements if kind != ZERO]
    return [*PLAIN_WAYS, *others, (PATTERN_PRESERVING, ZERO, FROZEN)]
