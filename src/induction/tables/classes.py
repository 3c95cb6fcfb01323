"""Classes of heads: thresholds fixed beforehand, on the scores of the final snapshot."""

import polars as pl

from induction.study.analysis import Heads


def head_classes(heads: pl.DataFrame, thresholds: Heads) -> pl.DataFrame:
    """Return the class of every head of every model, from its scores in the model's final snapshot.

    Args:
        heads: rows of table `heads`.
        thresholds: least scores of each class.

    Returns:
        `model`, `layer`, `head` and `class`: induction, previous-token or other; a head that is both is induction.

    Source: Olsson et al. 2022 (a continuum there; the thresholds are ours).
    """
    induction = (pl.col("prefix_matching") >= thresholds.induction_prefix_matching) & (
        pl.col("copying") > thresholds.induction_copying
    )
    previous_token = pl.col("previous_token") >= thresholds.previous_token
    kind = pl.when(induction).then(pl.lit("induction")).when(previous_token).then(pl.lit("previous-token"))
    return (
        heads.filter(pl.col("step") == pl.col("step").max().over("model"))
        .sort("model", "layer", "head")
        .select("model", "layer", "head", kind.otherwise(pl.lit("other")).alias("class"))
    )
