"""Whether heads look at earlier lines of the same kind, in prompts whose labels depend on the kinds of two words.

Axes: B prompt, T position, H head, Q query, K key, L line that looks, M line that is looked at.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from induction.errors import InductionError
from induction.measure.heads import error_of_mean, patterns_and_mixes
from induction.measure.last_snapshot import open_last
from induction.models.transformer import Transformer
from induction.tables.pattern_tasks import PATTERN_TASKS

_PROMPTS_AT_ONCE = 8


@dataclass(frozen=True)
class LinePrompts:
    """Prompts of labelled lines; places are 0-based and count the start token.

    `tokens`: a start token, lines, and padding, [B, T]; `colons`: the place that each line's label is predicted from,
    [B, L]; `labels`: the label's place, [B, L]; `ends`: each line's first place, and one past the last, [B, L + 1];
    `kinds`: each line's kind, [B, L].
    """

    tokens: NDArray[np.int32]
    colons: NDArray[np.int64]
    labels: NDArray[np.int64]
    ends: NDArray[np.int64]
    kinds: NDArray[np.int64]


@dataclass(frozen=True)
class TaskScores:
    """Scores of a layer's heads on each prompt, all [B, H]; shares are ratios of sums over a prompt's queries."""

    same_label_BH: Tensor
    """Of the attention to earlier labels, the share on those of lines of the query's kind."""
    same_line_BH: Tensor
    """Of the attention to earlier lines, all their tokens, the share on lines of the query's kind."""
    chance_BH: Tensor
    """`same_label`, were each query's attention to labels spread evenly over the earlier labels."""
    on_labels_BH: Tensor
    """Attention to earlier labels, mean over queries."""


def pattern_tasks(manifest: Path, prompts: LinePrompts, out: Path, *, provenance: dict[str, str], device: str) -> None:
    """Score every head of a block's last snapshot; write the model's part of the table `pattern_tasks`.

    Raises:
        InductionError: a prompt has no line that could be asked about, or the snapshot is not whole.
    """
    snapshot = open_last(manifest, device)
    with PATTERN_TASKS.writer(out, **provenance) as table:
        columns = score_tasks(snapshot.model, prompts)
        table.append({"step": snapshot.step, "tokens": snapshot.tokens, **columns})


@torch.inference_mode()
def score_tasks(model: Transformer, prompts: LinePrompts) -> dict[str, NDArray[np.generic]]:
    """Return the columns of the table `pattern_tasks`, one entry a head, layer by layer: means over prompts.

    Raises:
        InductionError: a prompt has no query (see `task_scores`).
    """
    n_layers, n_heads = model.architecture.n_layers, model.architecture.n_heads
    places = {field.name: torch.from_numpy(getattr(prompts, field.name)).long() for field in fields(prompts)}
    places = {name: place.to(model.W_E.device) for name, place in places.items()}
    tokens_BT, kinds_BL = places["tokens"], places["kinds"]
    asked_B = _same_and_earlier(kinds_BL)[2].any(-1)
    if not asked_B.all():
        raise InductionError(
            f"prompt {int(asked_B.int().argmin())} of the pattern task: no line has both an earlier line of its kind "
            "and one of another kind; prompts of 8 lines and more, two of each kind, have one. Make the prompts again."
        )
    parts: list[list[TaskScores]] = [[] for _ in range(n_layers)]
    for first in range(0, len(tokens_BT), _PROMPTS_AT_ONCE):
        some = {name: place[first : first + _PROMPTS_AT_ONCE] for name, place in places.items()}
        where = {name: some[name] for name in ("colons", "labels", "ends", "kinds")}
        for layer, (pattern_BHQK, _) in enumerate(patterns_and_mixes(model, some["tokens"])):
            parts[layer].append(task_scores(pattern_BHQK, **where))

    columns: dict[str, NDArray[np.generic]] = {
        "layer": np.repeat(np.arange(n_layers), n_heads),
        "head": np.tile(np.arange(n_heads), n_layers),
        "n_lines": np.full(n_layers * n_heads, kinds_BL.shape[1]),
    }
    for name in ("same_label", "same_line", "on_labels", "chance"):
        score_BN = torch.cat([torch.cat([getattr(part, f"{name}_BH") for part in layer]) for layer in parts], dim=1)
        columns[name] = score_BN.mean(0).cpu().numpy()
        if name != "chance":
            columns[f"{name}_se"] = error_of_mean(score_BN).cpu().numpy()
    return columns


def task_scores(pattern_BHQK: Tensor, colons: Tensor, labels: Tensor, ends: Tensor, kinds: Tensor) -> TaskScores:
    """Score patterns on prompts of labelled lines.

    The queries are the colons of lines that have at least one earlier line of their own kind and one of another.
    A head that puts nothing on earlier labels is at chance, and one that puts nothing on earlier lines likewise.

    Args:
        pattern_BHQK: attention on the prompts.
        colons: see `LinePrompts`, as are the others.
        labels: places of the labels.
        ends: where lines begin and end.
        kinds: kinds of the lines.

    Source: Olsson et al. 2022, argument 4, pattern-matching heads.
    """
    n_heads, n_positions = pattern_BHQK.shape[1], pattern_BHQK.shape[-1]
    same_BLM, earlier_LM, asked_BL = _same_and_earlier(kinds)
    queries_BHL1 = colons[:, None, :, None].expand(-1, n_heads, -1, -1)
    from_colon_BHLK = pattern_BHQK.float().gather(2, queries_BHL1.expand(-1, -1, -1, n_positions))
    from_colon_BHLK = from_colon_BHLK * asked_BL[:, None, :, None]

    position_K1 = torch.arange(n_positions, device=ends.device)[:, None]
    inside_BKM = (ends[:, None, :-1] <= position_K1) & (position_K1 < ends[:, None, 1:])
    on_line_BHLM = (from_colon_BHLK @ inside_BKM[:, None].float()) * earlier_LM
    keys_BHLM = labels[:, None, None, :].expand(*from_colon_BHLK.shape[:3], -1)
    on_label_BHLM = from_colon_BHLK.gather(3, keys_BHLM) * earlier_LM

    even_BHL = (same_BLM.float().sum(-1) / earlier_LM.float().sum(-1).clamp_min(1))[:, None].expand(-1, n_heads, -1)
    asked_BHL = asked_BL[:, None].expand(-1, n_heads, -1).float()
    same_BHLM = same_BLM[:, None].float()
    label_mass_BHL, line_mass_BHL = on_label_BHLM.sum(-1), on_line_BHLM.sum(-1)
    return TaskScores(
        same_label_BH=_share((on_label_BHLM * same_BHLM).sum(-1), label_mass_BHL, even_BHL, asked_BHL),
        same_line_BH=_share((on_line_BHLM * same_BHLM).sum(-1), line_mass_BHL, even_BHL, asked_BHL),
        chance_BH=_share(even_BHL * label_mass_BHL, label_mass_BHL, even_BHL, asked_BHL),
        on_labels_BH=label_mass_BHL.sum(-1) / asked_BHL.sum(-1),
    )


def _same_and_earlier(kinds_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return earlier lines of the same kind, [B, L, M], all earlier ones, [L, M], and lines asked about, [B, L]."""
    n_lines = kinds_BL.shape[1]
    earlier_LM = torch.ones(n_lines, n_lines, dtype=torch.bool, device=kinds_BL.device).tril(-1)
    alike_BLM = kinds_BL[:, :, None] == kinds_BL[:, None]
    same_BLM, other_BLM = alike_BLM & earlier_LM, ~alike_BLM & earlier_LM
    return same_BLM, earlier_LM, same_BLM.any(-1) & other_BLM.any(-1)


def _share(part_BHL: Tensor, whole_BHL: Tensor, even_BHL: Tensor, asked_BHL: Tensor) -> Tensor:
    """Return the sum of parts over the sum of wholes; where there is no whole, the mean even share, [B, H]."""
    whole_BH = whole_BHL.sum(-1)
    even_BH = (even_BHL * asked_BHL).sum(-1) / asked_BHL.sum(-1)
    return torch.where(whole_BH > 0, part_BHL.sum(-1) / whole_BH.clamp_min(torch.finfo(whole_BH.dtype).tiny), even_BH)
