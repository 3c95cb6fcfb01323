"""The table `periods`: prefix matching of every head at several periods."""

from induction.tables.columns import HEAD, LAYER, STEP, TOKENS, with_error
from induction.tables.table import Column, Table

PERIODS = Table(
    name="periods",
    row="a head at a period, in a model's last snapshot",
    key=("model", "step", "period", "layer", "head"),
    columns=(
        STEP,
        TOKENS,
        Column("period", "int64", "Random tokens before they repeat.", low=2),
        Column("n_repeats", "int64", "Times they are shown.", low=2),
        Column("classifies", "bool", "Whether heads are classed by this period, `probes.period`."),
        LAYER,
        HEAD,
        *with_error("prefix_matching", "Attention on the tokens that followed this token's earlier copies.", 0, 1.0001),
    ),
)
