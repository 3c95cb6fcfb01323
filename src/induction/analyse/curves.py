"""The curves of a model's training: losses and in-context learning with intervals, and the best heads' scores."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from induction.analyse.signals import read_heads, read_random_index, signals
from induction.resampling import interval, resample_weights
from induction.study.analysis import Bootstrap
from induction.study.evaluation import InContext
from induction.tables.curves import CURVES
from induction.tables.provenance import provenance_of


def curves(
    losses: Sequence[Path],
    heads: Sequence[Path],
    evaluation: Path,
    in_context: InContext,
    bootstrap: Bootstrap,
    out: Path,
) -> None:
    """Write the curves of one model, a row a snapshot."""
    provenance = provenance_of([*losses, *heads])
    random_index = read_random_index(evaluation)
    measured = signals(losses, random_index, in_context)
    weights = resample_weights(len(random_index), bootstrap)
    columns = {
        "step": measured.steps_S,
        "tokens": measured.tokens_S,
        "loss_by_index": measured.by_index_SI,
        **best_heads(read_heads(heads, measured.steps_S)).drop("step").to_dict(as_series=False),
    }
    for name, values_SE in measured.by_example_SE.items():
        columns[name] = values_SE.mean(axis=1)
        columns[f"{name}_low"], columns[f"{name}_high"] = interval(weights @ values_SE.T, bootstrap.confidence)
    CURVES.write(out, columns, **provenance)


def best_heads(heads: pl.DataFrame) -> pl.DataFrame:
    """Return the best scores of any head, a row a snapshot, ascending; of equally good heads the first counts."""
    return (
        heads.sort("step", "layer", "head")
        .group_by("step", maintain_order=True)
        .agg(
            best_prefix_matching=pl.col("prefix_matching").max(),
            best_previous_token=pl.col("previous_token").max(),
            best_induction_copying=pl.col("copying").get(pl.col("prefix_matching").arg_max()),
        )
    )
