"""What heads keep of their worth if they attend as the ideal head of their class would.

Axes: B example, T position, Q query, K key, H head, E width of a head, D residual stream, R resample.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from induction.measure.last_snapshot import last_scores, open_last
from induction.measure.unembedding import row_losses
from induction.models.chunks import at_once
from induction.models.transformer import Attention, Transformer, causal_mask
from induction.resampling import Floats, interval, resample_weights
from induction.study.analysis import Bootstrap, Heads
from induction.tables.classes import head_classes
from induction.tables.idealised import AFTER_ONE, AFTER_TWO, IDEALISED, PREVIOUS_TOKEN

IDEAL_PATTERNS = {"previous-token": (PREVIOUS_TOKEN,), "induction": (AFTER_ONE, AFTER_TWO)}
"""The ideal patterns of each class of heads."""

Place = tuple[int, int]
"""Layer and head, counted from 0."""

_TOKENS_AT_ONCE = 4096
_PATTERN_BYTES_AT_ONCE = 1 << 26


def idealised(
    manifest: Path,
    heads_parts: Sequence[Path],
    thresholds: Heads,
    tokens: NDArray[np.int32],
    bootstrap: Bootstrap,
    out: Path,
    *,
    provenance: dict[str, str],
    device: str,
) -> None:
    """Idealise the heads of each class in a block's last snapshot; write the model's part of the table `idealised`.

    A model without a head of a class has no row of it.

    Args:
        manifest: the manifest of the model's last block.
        heads_parts: parts of the table `heads` with the scores of that snapshot.
        thresholds: of the classes of heads.
        tokens: evaluation examples, [example, start token and n_tokens].
        bootstrap: resampling of examples behind the intervals.
        out: the model's part of the table.
        provenance: goes into the footer.
        device: where to compute.

    Raises:
        InductionError: the scores are not those of the snapshot's heads, or the snapshot is not whole.
    """
    scores, snapshot = last_scores(manifest, heads_parts), open_last(manifest, device)
    tokens_BT = torch.from_numpy(tokens).long().to(device)
    with IDEALISED.writer(out, **provenance) as table:
        for columns in idealise(snapshot.model, tokens_BT, _places(scores, thresholds), bootstrap):
            table.append({"step": snapshot.step, "tokens": snapshot.tokens, **columns})


def idealise(
    model: Transformer, tokens_BT: Tensor, classes: Mapping[str, Sequence[Place]], bootstrap: Bootstrap
) -> list[dict[str, object]]:
    """Return the columns of the table `idealised`, an entry for each class of heads and each of its ideal patterns.

    Args:
        model: the model.
        tokens_BT: examples.
        classes: the heads of each class; those of one class are idealised, and ablated, together.
        bootstrap: resampling of examples.
    """
    weights_RB = resample_weights(len(tokens_BT), bootstrap)
    intact_B = _by_example(model, tokens_BT, {})
    rows: list[dict[str, object]] = []
    for name, patterns in IDEAL_PATTERNS.items():
        places = classes.get(name, ())
        if not places:
            continue
        ablated_B = _by_example(model, tokens_BT, dict.fromkeys(places))
        heads = " ".join(f"{layer}.{head}" for layer, head in places)
        for pattern in patterns:
            ideal_B = _by_example(model, tokens_BT, dict.fromkeys(places, pattern))
            shares = recovery(intact_B, ideal_B, ablated_B, weights_RB, bootstrap.confidence)
            rows.append({"class": name, "heads": heads, "pattern": pattern, **shares})
    return rows


def recovery(
    intact_B: Floats, ideal_B: Floats, ablated_B: Floats, weights_RB: Floats, confidence: float
) -> dict[str, float | None]:
    """Return the mean losses and the recovered share, 1 - (ideal - intact)/(ablated - intact), with their intervals.

    Resamples draw the same examples for all three losses. There is no share where the interval of ablated - intact
    reaches 0 or lies below it; the few resamples in which it does although the interval does not have no share either.

    Args:
        intact_B: mean loss of each example, nats.
        ideal_B: with ideal patterns.
        ablated_B: without the heads.
        weights_RB: share of each example in each resample.
        confidence: coverage of the intervals.

    Source: Olsson et al. 2022, argument 5, the replication by Scherlis.
    """
    columns: dict[str, float | None] = {}
    means, resampled = [], []
    for name, loss_B in (("loss", intact_B), ("loss_ideal", ideal_B), ("loss_ablated", ablated_B)):
        means.append(loss_B.mean())
        resampled.append(weights_RB @ loss_B)
        columns |= _with_interval(name, means[-1], interval(resampled[-1], confidence))
    worth, worth_R = means[2] - means[0], resampled[2] - resampled[0]
    if interval(worth_R, confidence)[0] <= 0:
        return columns | dict.fromkeys(("recovered", "recovered_low", "recovered_high"))
    some_R = worth_R > 0
    share_R = 1 - (resampled[1] - resampled[0])[some_R] / worth_R[some_R]
    return columns | _with_interval("recovered", 1 - (means[1] - means[0]) / worth, interval(share_R, confidence))


@torch.inference_mode()
def forced_losses(model: Transformer, tokens_BT: Tensor, forced: Mapping[Place, str | None]) -> Tensor:
    """Return the loss of every token but the first of each example, some heads' attention replaced, nats, [B, T - 1].

    All else is computed as in the model's own forward pass: later heads attend as what they read then has it.

    Args:
        model: the model.
        tokens_BT: examples.
        forced: the ideal pattern of each such head, or None: its result is set to zero.

    Source: Olsson et al. 2022, argument 5, the replication by Scherlis.
    """
    n_tokens, n_heads = tokens_BT.shape[1] - 1, model.architecture.n_heads
    by_tokens, by_patterns = (at_once(most, tokens_BT.device) for most in (_TOKENS_AT_ONCE, _PATTERN_BYTES_AT_ONCE))
    batch = max(1, min(by_tokens // n_tokens, by_patterns // (4 * n_heads * n_tokens**2)))
    parts = []
    for some_BT in tokens_BT.split(batch):
        visible_HQK = _visible(model.blocks[0].attn, n_tokens)  # alike in all layers
        names = sorted({name for name in forced.values() if name is not None})
        ideal = {name: ideal_pattern(name, some_BT[:, :-1], visible_HQK) for name in names}
        residual_BTD = model.embed(some_BT[:, :-1])
        for layer, block in enumerate(model.blocks):
            z_BHQE = _forced_mix(block.attn, block.ln1(residual_BTD), ideal, _of_layer(forced, layer))
            residual_BTD = block.after_attention(residual_BTD + block.attn.result(z_BHQE))
        parts.append(row_losses(model, residual_BTD.flatten(0, 1), some_BT[:, 1:].flatten()))
    return torch.cat(parts).view(len(tokens_BT), n_tokens)


def ideal_pattern(name: str, tokens_BT: Tensor, visible_HQK: Tensor) -> Tensor:
    """Return the attention of ideal heads on a text, [B, H, Q, K]: even over the keys that such a head looks at.

    previous token: the key before the query. [A][B]…[A]: the keys that follow earlier copies of the query's token.
    [A][B]…[A] and [A][B][C]…[A][B]: where the query's token and the one before it stood together earlier, the keys that
    follow those pairs; else as [A][B]…[A].

    A head never looks beyond what it sees (a local head: its window). Where it sees no key to look at, it is even over
    all that it sees: the limit of a softmax whose scores count the tokens that match, ever sharper. Olsson et al. do
    not say where such a head rests. It is not the start token, since the heads of small models do not rest there, and
    what they would write from it, at full weight, costs more than they are worth at such queries.

    Args:
        name: of the pattern.
        tokens_BT: the text, from its start token; that is a token like any other.
        visible_HQK: the keys that each head sees; one head stands for all if they see alike.

    Source: Olsson et al. 2022, argument 5, the replication by Scherlis.
    """
    if name == PREVIOUS_TOKEN:
        index_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        choices = [(index_T[:, None] - 1 == index_T)[None]]
    else:
        alike_BQK = tokens_BT[:, :, None] == tokens_BT[:, None]
        after_one_BQK = _moved(alike_BQK, n_queries=0, n_keys=1)
        choices = [after_one_BQK]
        if name == AFTER_TWO:
            choices.append(after_one_BQK & _moved(alike_BQK, n_queries=1, n_keys=2))
    looked_at_BHQK = visible_HQK[None]
    for choice_BQK in choices:
        seen_BHQK = choice_BQK[:, None] & visible_HQK
        looked_at_BHQK = torch.where(seen_BHQK.any(-1, keepdim=True), seen_BHQK, looked_at_BHQK)
    return looked_at_BHQK / looked_at_BHQK.sum(-1, keepdim=True)


def _moved(x_BQK: Tensor, n_queries: int, n_keys: int) -> Tensor:
    """Move entries to later queries and keys, by so many; those moved in are False."""
    moved_BQK = torch.zeros_like(x_BQK)
    moved_BQK[:, n_queries:, n_keys:] = x_BQK[:, : x_BQK.shape[1] - n_queries, : x_BQK.shape[2] - n_keys]
    return moved_BQK


def _forced_mix(
    attention: Attention, normed_BTD: Tensor, ideal: Mapping[str, Tensor], forced: Mapping[int, str | None]
) -> Tensor:
    """Return each head's mix of values, those of some heads by ideal patterns or zero, [B, H, Q, E]."""
    z_BHQE = attention.mix(normed_BTD)
    for name in set(forced.values()):
        heads = [head for head, pattern in forced.items() if pattern == name]
        if name is None:
            z_BHQE[:, heads] = 0
        else:
            z_BHQE[:, heads] = attention.mix_by(ideal[name].to(normed_BTD.dtype), normed_BTD)[:, heads]
    return z_BHQE


def _visible(attention: Attention, n_positions: int) -> Tensor:
    """Return the keys that each head sees, [H, Q, K]; one head stands for all if none is local."""
    mask_HQK = attention.mask(n_positions)
    return causal_mask(n_positions, n_positions, attention.W_V.device)[None] if mask_HQK is None else mask_HQK


def _of_layer(forced: Mapping[Place, str | None], layer: int) -> dict[int, str | None]:
    return {head: pattern for (at, head), pattern in forced.items() if at == layer}


def _by_example(model: Transformer, tokens_BT: Tensor, forced: Mapping[Place, str | None]) -> Floats:
    return forced_losses(model, tokens_BT, forced).double().mean(dim=1).cpu().numpy()


def _places(scores: pl.DataFrame, thresholds: Heads) -> dict[str, list[Place]]:
    """Return the heads of each class, layer by layer."""
    classes: dict[str, list[Place]] = {}
    for row in head_classes(scores, thresholds).iter_rows(named=True):
        classes.setdefault(row["class"], []).append((row["layer"], row["head"]))
    return classes


def _with_interval(name: str, value: float, ends: tuple[Floats, Floats]) -> dict[str, float | None]:
    low, high = ends
    return {name: float(value), f"{name}_low": float(low), f"{name}_high": float(high)}
