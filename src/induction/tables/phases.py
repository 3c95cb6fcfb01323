"""The table `phases`: where each signal changes."""

from induction.tables.columns import with_interval
from induction.tables.table import Column, Table

PHASES = Table(
    name="phases",
    row="a model and signal",
    key=("model", "signal"),
    columns=(
        Column("signal", "string", "icl, prefix_matching, previous_token or loss."),
        Column("found", "bool", "Whether the signal has a window."),
        *with_interval("start_tokens", "Training tokens at which the window begins.", nullable=True),
        *with_interval("midpoint_tokens", "Training tokens at which the signal changes fastest.", nullable=True),
        *with_interval("end_tokens", "Training tokens at which the window ends.", nullable=True),
        Column("start_step", "int64", "The last snapshot at or before the start.", low=0, nullable=True),
        Column("end_step", "int64", "The first snapshot at or after the end.", low=0, nullable=True),
        Column("change", "float64", "Change of the signal inside the window (nats, or score).", nullable=True),
        Column("support", "float64", "Share of bootstrap resamples that have a window.", 0, 1),
        Column("reason", "string", "Why there is none, or the rule that found it."),
    ),
)
