"""The table `training`: how training went."""

from induction.tables.table import Column, Table

TRAINING = Table(
    name="training",
    row="a logged training step",
    key=("model", "step"),
    columns=(
        Column("step", "int64", "Steps taken before this one.", low=0),
        Column("tokens", "int64", "Training tokens seen before this step.", low=0),
        Column("loss", "float32", "Training loss of the step's batch, nats.", low=0),
        Column("gradient_norm", "float32", "Norm of the whole gradient before clipping.", low=0),
        Column("learning_rate", "float32", "AdamW's learning rate.", low=0),
        Column("tokens_per_second", "float32", "Training speed of the step.", low=0),
    ),
)
