"""The table `compositions`: how much each head reads of what each earlier one writes, from the weights."""

from induction.tables.columns import STEP, TOKENS
from induction.tables.table import Column, Table

COMPOSITIONS = Table(
    name="compositions",
    row="a pair of heads of two layers, in a model's last snapshot",
    key=("model", "step", "early_layer", "early_head", "late_layer", "late_head"),
    columns=(
        STEP,
        TOKENS,
        Column("early_layer", "int16", "Layer of the head that writes, counted from 0.", low=0),
        Column("early_head", "int16", "The head that writes, counted from 0.", low=0),
        Column("late_layer", "int16", "Layer of the head that reads, counted from 0.", low=0),
        Column("late_head", "int16", "The head that reads, counted from 0.", low=0),
        Column("k", "float32", "K-composition, less that of random matrices of the same shape."),
        Column("q", "float32", "Q-composition, less that of random matrices of the same shape."),
        Column("v", "float32", "V-composition, less that of random matrices of the same shape."),
    ),
)
