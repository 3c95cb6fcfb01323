"""The table `attributions`: how far an ablation undoes the window's change."""

from induction.tables.columns import HEAD, LAYER, STEP, TOKENS
from induction.tables.table import Column, Table

ATTRIBUTIONS = Table(
    name="attributions",
    row="an ablated head of a snapshot",
    key=("model", "step", "mode", "layer", "head"),
    columns=(
        STEP,
        TOKENS,
        Column("mode", "string", "pattern-preserving or full."),
        LAYER,
        HEAD,
        Column("before_after", "float64", "<loss change by ablation, unit vector of the window's loss change>, nats."),
        Column("before_after_se", "float64", "Its standard error, by a bootstrap over examples.", low=0),
        Column("fraction_undone", "float64", "Share of the window's loss change that the ablation undoes."),
        Column("fraction_undone_se", "float64", "Its standard error, by a bootstrap over examples.", low=0),
    ),
)
