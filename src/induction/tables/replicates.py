"""The table `replicates`: what bootstrap resamples of the examples make of each snapshot's curves."""

from induction.tables.columns import STEP, TOKENS
from induction.tables.table import Column, Table

_RESAMPLED = "in each resample of the examples; resample r draws the same examples for all models and snapshots."

REPLICATES = Table(
    name="replicates",
    row="a snapshot",
    key=("model", "step"),
    columns=(
        STEP,
        TOKENS,
        Column("loss", "float32[]", f"Mean loss at the examples' random indices, nats, {_RESAMPLED}", low=0),
        Column("icl_windowed", "float32[]", f"Mean loss over the late window minus over the early one, {_RESAMPLED}"),
        Column(
            "late_slope",
            "float32[]",
            f"Least-squares slope of the mean loss over ln(index), from the early index on, nats, {_RESAMPLED}",
        ),
        Column("loss_at_ten", "float32[]", f"Mean loss of the tokens 8 to 12, nats, {_RESAMPLED}", low=0),
        Column("loss_late", "float32[]", f"Mean loss over the late window, nats, {_RESAMPLED}", low=0),
    ),
)
