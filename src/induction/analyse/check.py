"""What the demo must show, held against its tables: every requirement with the figure measured, met or not."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from induction.analyse.costs import costs
from induction.errors import InductionError
from induction.places import block_of, part_of
from induction.study.study import Model
from induction.tables.ablations import (
    ABLATIONS,
    INTACT,
    PATTERN_PRESERVING,
    RECOMPUTED,
    SET_ABLATIONS,
    ZERO,
)
from induction.tables.curves import CURVES
from induction.tables.heads import HEADS
from induction.tables.phases import PHASES
from induction.tables.table import Table

READ = ("curves", "phases", "heads", "ablations", "set_ablations")
"""Tables that are checked."""
MEASURING = (
    "losses",
    "heads",
    "ablations",
    "set_ablations",
    "idealised",
    "compositions",
    "periods",
    "pattern_tasks",
    "case_studies",
)


class Requirement(NamedTuple):
    """A requirement on one model: what is asked, what was measured, and whether it is met."""

    model: str
    asked: str
    measured: str
    met: bool


def check(models: Sequence[Model], tables: Path, logs: Path) -> list[Requirement]:
    """Return every requirement on the attention-only models of one and two layers, vanilla and with smeared keys.

    And two on the jobs of all: the most memory that any took, and what measuring took beside training.

    Args:
        models: all models of the study; those with MLPs or more layers are asked for nothing.
        tables: the folder `results/tables`.
        logs: the folder `results/logs`.

    Raises:
        InductionError: a table is missing or not whole, or no model of the study is asked for anything.
    """
    asked_of = {(1, False): _one_layer, (2, False): _two_layers, (1, True): _one_layer_smeared}
    found: list[Requirement] = []
    for model in models:
        shape = model.architecture
        if not shape.d_mlp and (ask := asked_of.get((shape.n_layers, shape.smeared_keys))):
            found.extend(ask(model, tables))
    if not found:
        raise InductionError("no model of this study is attention-only with one or two layers: nothing to check")
    spent = costs(logs)
    peak = spent.sort("peak_mb").row(-1, named=True)
    memory = f"{peak['peak_mb']:.0f} MB ({peak['stage']})"
    training = spent.filter(stage="train")["seconds"].sum()
    measuring = spent.filter(pl.col("stage").is_in(MEASURING))["seconds"].sum()
    return [
        *found,
        Requirement("all", "peak memory of every job below 2,000 MB", memory, peak["peak_mb"] < 2000),
        Requirement(
            "all",
            "all measuring together takes less time than training",
            f"{measuring:.0f} s against {training:.0f} s",
            measuring < training,
        ),
    ]


def as_markdown(requirements: Sequence[Requirement]) -> str:
    """Return the requirements as a table for people."""
    lines = ["| model | must show | measured | |", "|---|---|---|---|"]
    lines += [f"| {r.model} | {r.asked} | {r.measured} | {'yes' if r.met else '**no**'} |" for r in requirements]
    return "\n".join(lines)


def _one_layer(model: Model, tables: Path) -> Iterator[Requirement]:
    last = _at_end(CURVES, model, tables).row(0, named=True)
    best = last["best_prefix_matching"]
    yield Requirement(model.name, "best prefix matching below 0.1", f"{best:.3f}", best < 0.1)
    yield _window(model, tables, expected=False)


def _one_layer_smeared(model: Model, tables: Path) -> Iterator[Requirement]:
    yield _window(model, tables, expected=True)


def _two_layers(model: Model, tables: Path) -> Iterator[Requirement]:
    last = _at_end(CURVES, model, tables).row(0, named=True)
    best, icl = last["best_prefix_matching"], last["icl_windowed"]
    yield Requirement(model.name, "best prefix matching above 0.6", f"{best:.3f}", best > 0.6)
    interval = f"{icl:.3f} [{last['icl_windowed_low']:.3f}, {last['icl_windowed_high']:.3f}] nats"
    yield Requirement(model.name, "windowed ICL score below -0.25 nats", interval, icl < -0.25)
    yield _window(model, tables, expected=True)

    heads = _at_end(HEADS, model, tables)
    induction = heads.sort("prefix_matching").row(-1, named=True)
    every = _at_end(ABLATIONS, model, tables)
    ablated = every.filter(mode=PATTERN_PRESERVING, replacement=ZERO, norm=RECOMPUTED)
    is_induction = (pl.col("layer") == induction["layer"]) & (pl.col("head") == induction["head"])
    change = ablated.filter(is_induction)["icl_change"].item()
    intact = -every.filter(mode=INTACT)["icl_windowed"].item()
    yield Requirement(
        model.name,
        f"ablating the best induction head ({induction['layer']}.{induction['head']}) removes over half of ICL",
        f"{change:+.3f} of {intact:.3f} nats",
        change > intact / 2,
    )
    others = ablated.filter(~is_induction)
    n_harmless = others.filter(pl.col("icl_change") <= 2 * pl.col("icl_change_se")).height
    yield Requirement(
        model.name,
        "most other heads' ablations do not reduce ICL (within 2 standard errors)",
        f"{n_harmless} of {others.height}",
        n_harmless > others.height / 2,
    )
    yield _together(model, tables)


def _together(model: Model, tables: Path) -> Requirement:
    """Require that all induction heads are worth more than any random set of as many others, patterns kept."""
    sets = _at_end(SET_ABLATIONS, model, tables).filter(mode=PATTERN_PRESERVING, norm=RECOMPUTED)
    told, met = [], []
    for kind in sets.filter(pl.col("set_name") != INTACT)["replacement"].unique(maintain_order=True):
        change = dict(sets.filter(replacement=kind).group_by("set_name").agg(pl.col("icl_change").max()).iter_rows())
        if "random-induction" not in change:
            continue  # no induction heads, or too many to draw as many others
        told.append(f"{kind} {change['induction']:+.3f} against {change['random-induction']:+.3f}")
        met.append(change["induction"] > change["random-induction"])
    return Requirement(
        model.name,
        "all induction heads together are worth more ICL than as many others, whatever stands for their results",
        f"{', '.join(told)} nats" if told else "no induction heads, or no others to draw",
        bool(met) and all(met),
    )


def _window(model: Model, tables: Path, *, expected: bool) -> Requirement:
    row = _read(PHASES, model, tables).row(by_predicate=pl.col("signal") == "icl", named=True)
    measured = f"{row['start_tokens'] / 1e6:.2f} to {row['end_tokens'] / 1e6:.2f}M tokens" if row["found"] else "none"
    return Requirement(
        model.name,
        "a phase-change window" if expected else "no window",
        f"{measured}, in {row['support']:.0%} of the resamples",
        row["found"] == expected,
    )


def _read(table: Table, model: Model, tables: Path) -> pl.DataFrame:
    blocks = [block_of(tables, table.name, model.name, block) for block in range(len(model.blocks))]
    return table.read(blocks if table in (HEADS, ABLATIONS) else [part_of(tables, table.name, model.name)])


def _at_end(table: Table, model: Model, tables: Path) -> pl.DataFrame:
    """Read the rows of a model's last snapshot.

    Raises:
        InductionError: the table has no rows of it, or not those of every head.
    """
    last = model.steps[-1]
    rows = _read(table, model, tables).filter(step=last)
    n_heads = model.architecture.n_layers * model.architecture.n_heads
    of_heads = rows.filter(pl.col("mode") != INTACT) if table is ABLATIONS else rows
    lacks_heads = table in (HEADS, ABLATIONS) and of_heads.select("layer", "head").n_unique() != n_heads
    if rows.is_empty() or lacks_heads:
        path = tables / table.name / f"model={model.name}"
        raise InductionError(
            f"{path}: rows of step {last}, the last snapshot of {model.name}, are missing"
            f"{' for some heads' if not rows.is_empty() else ''}. Make it again: rm -r '{path}' && snakemake tables"
        )
    return rows
