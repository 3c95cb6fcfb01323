"""The curves of a model's training: losses and in-context learning with intervals, and the best heads' scores."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from induction.analyse.signals import read_heads, read_random_index, signals_and_shape
from induction.artefacts.origins import provenance_of
from induction.resampling import interval, resample_weights
from induction.study.analysis import Bootstrap
from induction.study.evaluation import InContext
from induction.tables.curves import CURVES
from induction.tables.replicates import REPLICATES

_WITH_INTERVAL = ("loss", "mean_loss", "icl_score", "icl_windowed")
_REPLICATED = [column.name for column in REPLICATES.columns if column.kind == "float32[]"]


def curves(
    losses: Sequence[Path],
    heads: Sequence[Path],
    evaluation: Path,
    in_context: InContext,
    bootstrap: Bootstrap,
    out: Path,
    replicates_out: Path,
) -> None:
    """Write the curves of one model, and what each resample of the examples makes of them, a row a snapshot each.

    Resamples depend on the number of examples and on `bootstrap` alone: of one evaluation set, resample r draws the
    same examples for every model.

    Args:
        losses: the model's parts of table losses.
        heads: its parts of table heads.
        evaluation: the evaluation set.
        in_context: early and late token indices.
        bootstrap: resamples behind the intervals.
        out: its part of table curves.
        replicates_out: its part of table replicates.
    """
    provenance = provenance_of([*losses, *heads])
    random_index = read_random_index(evaluation)
    measured = signals_and_shape(losses, random_index, in_context)
    weights_RE = resample_weights(len(random_index), bootstrap)
    resampled_RS = {name: weights_RE @ values_SE.T for name, values_SE in measured.by_example_SE.items()}
    snapshots = {"step": measured.steps_S, "tokens": measured.tokens_S}
    columns = {
        **snapshots,
        "loss_by_index": measured.by_index_SI,
        **best_heads(read_heads(heads, measured.steps_S)).drop("step").to_dict(as_series=False),
    }
    for name in _WITH_INTERVAL:
        columns[name] = measured.by_example_SE[name].mean(axis=1)
        columns[f"{name}_low"], columns[f"{name}_high"] = interval(resampled_RS[name], bootstrap.confidence)
    with CURVES.writer(out, **provenance) as table, REPLICATES.writer(replicates_out, **provenance) as replicates:
        table.append(columns)
        replicates.append(snapshots | {name: resampled_RS[name].T for name in _REPLICATED})


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
