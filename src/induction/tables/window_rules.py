"""The table `window_rules`: the window of in-context learning under other values of the rules that find it."""

from induction.tables.table import Column, Table

WINDOW_RULES = Table(
    name="window_rules",
    row="a value of a rule, all others as they are, by a model",
    key=("model", "rule", "value"),
    columns=(
        Column("rule", "string", "Field of `phases` in config/config.yaml."),
        Column("value", "float64", "Its value in this row."),
        Column("usual", "bool", "Whether this is the study's own value."),
        Column("found", "bool", "Whether the windowed ICL score has a window under it."),
        Column("support", "float64", "Share of the bootstrap resamples that have one.", 0, 1),
        Column("start_tokens", "float64", "Training tokens at which the window begins; empty if none.", nullable=True),
        Column("midpoint_tokens", "float64", "Training tokens at which the score falls fastest.", nullable=True),
        Column("end_tokens", "float64", "Training tokens at which the window ends.", nullable=True),
    ),
)
