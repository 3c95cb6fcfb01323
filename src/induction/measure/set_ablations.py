"""What the heads of a class are worth together, and as many others drawn at random."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from induction.measure.ablated_runs import Ablation, ablated_losses
from induction.measure.ablations import Asked, every_way
from induction.measure.last_snapshot import last_scores, open_last
from induction.study.analysis import Bootstrap, Heads
from induction.study.evaluation import Ablations, InContext
from induction.tables.ablations import INTACT, SET_ABLATIONS
from induction.tables.classes import head_classes

Place = tuple[int, int]


class HeadSet(NamedTuple):
    """Heads that are ablated together: of a class, or one draw of as many others."""

    name: str
    draw: int
    heads: tuple[Place, ...]


def set_ablations(
    manifest: Path,
    heads: Sequence[Path],
    thresholds: Heads,
    tokens: NDArray[np.int32],
    random_index: NDArray[np.int64],
    in_context: InContext,
    settings: Ablations,
    bootstrap: Bootstrap,
    out: Path,
    *,
    provenance: dict[str, str],
    device: str,
) -> None:
    """Ablate sets of heads of a block's last snapshot; write the model's part of the table `set_ablations`.

    Args:
        manifest: the manifest of the model's last block.
        heads: parts of the table `heads` with that snapshot's scores.
        thresholds: least scores of each class.
        tokens: evaluation examples, [example, start token and n_tokens].
        random_index: of each example, 1-based, [example].
        in_context: the scores whose losses are asked for.
        settings: how many examples and random sets, and what stands for a head's result.
        bootstrap: the resamples behind standard errors.
        out: the model's part of the table.
        provenance: goes into the footer.
        device: where to compute.

    Raises:
        InductionError: the scores are not those of the snapshot's heads, or the snapshot is not whole.
    """
    scores, snapshot = last_scores(manifest, heads), open_last(manifest, device)
    sets = head_sets(head_classes(scores, thresholds), settings.n_random_sets)
    tokens_BT = torch.from_numpy(tokens[: settings.n_examples]).long().to(device)
    asked = Asked.of(in_context, random_index[: settings.n_examples], bootstrap)
    positions_BP = torch.from_numpy(asked.positions()).to(device)
    wanted = [(one, Ablation(one.heads, *way)) for one in sets for way in every_way(settings)]
    losses = ablated_losses(snapshot.model, tokens_BT, positions_BP, [ablation for _, ablation in wanted])
    with SET_ABLATIONS.writer(out, **provenance) as table:
        for one, ablation in [(HeadSet(INTACT, 0, ()), None), *wanted]:
            named = {
                "set_name": one.name,
                "draw": one.draw,
                "n_heads": len(one.heads),
                "heads": " ".join(f"{layer}.{head}" for layer, head in one.heads),
            }
            told = asked.columns(ablation, losses)
            table.append({"step": snapshot.step, "tokens": snapshot.tokens, **named, **told})


def head_sets(classes: pl.DataFrame, n_random: int) -> list[HeadSet]:
    """Return the heads of each class, and for each of them `n_random` sets of as many heads outside it.

    Args:
        classes: `layer`, `head` and `class` of every head of one model.
        n_random: draws; none where too few heads are outside a class.
    """
    members: dict[str, list[Place]] = {}
    for layer, head, kind in classes.sort("layer", "head").select("layer", "head", "class").iter_rows():
        members.setdefault(kind, []).append((layer, head))
    sets = [HeadSet(kind, 0, tuple(places)) for kind, places in sorted(members.items())]
    random = np.random.default_rng(0)
    for kind, places in sorted(members.items()):
        outside = [place for other, those in members.items() if other != kind for place in those]
        if len(outside) >= len(places):
            for draw in range(n_random):
                chosen = random.choice(len(outside), len(places), replace=False)
                sets.append(HeadSet(f"random-{kind}", draw, tuple(sorted(outside[index] for index in chosen))))
    return sets
