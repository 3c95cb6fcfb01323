"""The table `losses`: per-token losses on the evaluation set."""

from induction.tables.columns import STEP, TOKENS
from induction.tables.table import Column, Table

LOSSES = Table(
    name="losses",
    row="an example, by a snapshot",
    key=("model", "step", "example"),
    columns=(
        STEP,
        TOKENS,
        Column("example", "int64", "Evaluation example, counted from 0.", low=0),
        Column("loss", "float32[]", "Loss of each predicted token, nats; entry i-1 is token i.", low=0),
    ),
)
