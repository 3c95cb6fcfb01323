"""The table `curves`: a model's snapshots in numbers."""

from induction.tables.columns import STEP, TOKENS, with_interval
from induction.tables.table import Column, Table

CURVES = Table(
    name="curves",
    row="a snapshot",
    key=("model", "step"),
    columns=(
        STEP,
        TOKENS,
        *with_interval("loss", "Mean loss at the examples' random indices, nats."),
        *with_interval("mean_loss", "Mean loss over all indices, nats."),
        *with_interval("icl_score", "Loss at the late index minus loss at the early one, nats."),
        *with_interval("icl_windowed", "Mean loss over the late window minus over the early one, nats."),
        Column("best_prefix_matching", "float64", "Highest prefix matching of any head.", 0, 1.0001),
        Column("best_previous_token", "float64", "Highest previous-token score of any head.", 0, 1.0001),
        Column(
            "best_induction_copying",
            "float64",
            "Copying of the head with the highest prefix matching.",
            -1.0001,
            1.0001,
        ),
        Column("loss_by_index", "float32[]", "Mean loss of each predicted token, nats; entry i-1 is token i.", low=0),
    ),
)
