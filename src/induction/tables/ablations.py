"""The tables `ablations` and `set_ablations`: what is left without a head, and without several."""

from induction.tables.columns import STEP, TOKENS
from induction.tables.table import Column, Table

INTACT, NONE = "intact", "none"
PATTERN_PRESERVING, FULL = "pattern-preserving", "full"
ZERO, MEAN, RESAMPLE = "zero", "mean", "resample"
RECOMPUTED, FROZEN = "recomputed", "frozen"

_HOW = (
    Column("mode", "string", "intact, pattern-preserving or full."),
    Column("replacement", "string", "What stands for the result: zero, mean or resample; of intact: none."),
    Column("norm", "string", "LayerNorms' scales: recomputed, or frozen as in the intact run; of intact: recomputed."),
)
_LEFT = (
    Column("loss", "float64", "Mean of random_index_loss, nats.", low=0),
    Column("icl_score", "float64", "Loss at the late index minus loss at the early one, nats."),
    Column("icl_windowed", "float64", "Mean loss over the late window minus over the early one, nats."),
    Column("icl_change", "float64", "icl_windowed minus the intact model's; positive: the heads help."),
    Column("icl_change_se", "float64", "Its standard error, by a bootstrap over examples, paired.", low=0),
    Column(
        "random_index_loss", "float32[]", "Loss at each example's random index, nats, in the examples' order.", low=0
    ),
)

ABLATIONS = Table(
    name="ablations",
    row="an ablated head of a snapshot, and one row for the intact model (mode: intact; layer and head: empty)",
    key=("model", "step", "mode", "replacement", "norm", "layer", "head"),
    columns=(
        STEP,
        TOKENS,
        *_HOW,
        Column("layer", "int16", "Layer of the ablated head, counted from 0.", low=0, nullable=True),
        Column("head", "int16", "The ablated head of the layer, counted from 0.", low=0, nullable=True),
        *_LEFT,
    ),
    version=2,
)

SET_ABLATIONS = Table(
    name="set_ablations",
    row="a set of heads ablated together, in a model's last snapshot, and one row for the intact model",
    key=("model", "step", "set_name", "draw", "mode", "replacement", "norm"),
    columns=(
        STEP,
        TOKENS,
        Column(
            "set_name",
            "string",
            "intact; induction, previous-token, other: all heads of a class; or random-CLASS: as many others.",
        ),
        Column("draw", "int16", "Which draw of a random set, counted from 0; 0 where there is one.", low=0),
        Column("n_heads", "int16", "Heads in the set.", low=0),
        Column("heads", "string", "The heads, as LAYER.HEAD, parted by blanks."),
        *_HOW,
        *_LEFT,
    ),
)
