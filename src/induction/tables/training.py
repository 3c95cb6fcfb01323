"""The table `training`: how training went."""

from induction.tables.columns import STEP, TOKENS
from induction.tables.table import Column, Table

TRAINING = Table(
    name="training",
    row="a logged training step",
    key=("model", "step"),
    columns=(
        STEP,
        TOKENS,
        Column("loss", "float32", "Mean training loss since the row before, nats.", low=0),
        Column("gradient_norm", "float32", "Norm of the whole gradient before clipping.", low=0),
        Column("learning_rate", "float32", "AdamW's learning rate.", low=0),
        Column("tokens_per_second", "float32", "Training speed since the row before.", low=0),
    ),
)
