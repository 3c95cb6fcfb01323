"""The table `ablations`: what is left without a head."""

from induction.tables.columns import STEP, TOKENS
from induction.tables.table import Column, Table

ABLATIONS = Table(
    name="ablations",
    row="an ablated head of a snapshot, and one row for the intact model (mode: intact; layer and head: empty)",
    key=("model", "step", "mode", "layer", "head"),
    columns=(
        STEP,
        TOKENS,
        Column("mode", "string", "intact, pattern-preserving or full."),
        Column("layer", "int16", "Layer of the ablated head, counted from 0.", low=0, nullable=True),
        Column("head", "int16", "The ablated head of the layer, counted from 0.", low=0, nullable=True),
        Column("loss", "float64", "Mean of random_index_loss, nats.", low=0),
        Column("icl_score", "float64", "Loss at the late index minus loss at the early one, nats."),
        Column("icl_windowed", "float64", "Mean loss over the late window minus over the early one, nats."),
        Column("icl_change", "float64", "icl_windowed minus the intact model's; positive: the head helps."),
        Column(
            "icl_change_se",
            "float64",
            "Its standard error: of a mean over examples, paired with the intact model.",
            low=0,
        ),
        Column(
            "random_index_loss",
            "float32[]",
            "Loss at each example's random index, nats, in the examples' order.",
            low=0,
        ),
    ),
)
