"""The tables `phases` and `onsets`: where each signal changes, and where in each resample."""

from induction.tables.columns import with_interval
from induction.tables.table import Column, Table

_SIGNALS = (
    "icl, prefix_matching (of the head that is best at the last snapshot), best_prefix_matching (of the best head of "
    "each snapshot), previous_token (as prefix_matching) or loss."
)

PHASES = Table(
    name="phases",
    row="a model and signal",
    key=("model", "signal"),
    columns=(
        Column("signal", "string", _SIGNALS),
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

ONSETS = Table(
    name="onsets",
    row="a resample of a signal in which it has a window",
    key=("model", "signal", "resample"),
    columns=(
        Column("signal", "string", _SIGNALS),
        Column(
            "resample", "int64", "Number of the resample, counted from 0; those without a window are left out.", low=0
        ),
        Column("start_tokens", "float64", "Training tokens at which the window begins.", low=0),
        Column("midpoint_tokens", "float64", "Training tokens at which the signal changes fastest.", low=0),
        Column("end_tokens", "float64", "Training tokens at which the window ends.", low=0),
        Column("before_tokens", "float64", "Training tokens of the last snapshot at or before the start.", low=0),
        Column("after_tokens", "float64", "Training tokens of the first snapshot after the start.", low=0),
    ),
)
