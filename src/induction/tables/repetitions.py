"""The tables `repetitions` and `passages`: which tokens of real text the phase change makes better and worse."""

from induction.tables.columns import STEP, TOKENS, with_interval
from induction.tables.table import Column, Table

CONTINUED, BROKEN, OTHER = "continued", "broken", "other"
CLASSES = (OTHER, CONTINUED, BROKEN)
"""In token_classes.safetensors, the place of its class here stands for it."""

_CLASS = Column(
    "class",
    "string",
    "continued: the token followed an earlier occurrence of its prefix, the `repetitions.prefix` tokens before it; "
    "broken: its prefix stood earlier in the example, and only other tokens followed; other: its prefix is new.",
)

REPETITIONS = Table(
    name="repetitions",
    row="a class of tokens of the evaluation set, by a snapshot",
    key=("model", "step", "class"),
    columns=(
        STEP,
        TOKENS,
        _CLASS,
        Column("n_tokens", "int64", "Tokens of the class in the evaluation set.", low=0),
        *with_interval("loss", "Mean loss of the tokens of the class, nats; empty if there are none.", nullable=True),
        *with_interval(
            "change",
            "That loss minus the loss at the start of the model's window, nats; empty without a window.",
            nullable=True,
        ),
    ),
)

PASSAGES = Table(
    name="passages",
    row="a token of a passage of real text, by a model",
    key=("model", "passage", "index"),
    columns=(
        Column("passage", "int16", "Passage, counted from 0.", low=0),
        Column("example", "int64", "Evaluation example that it is cut from, counted from 0.", low=0),
        Column("index", "int64", "Index of the token in its example, counted from 1.", low=1),
        Column("text", "string", "The token's text."),
        _CLASS,
        Column(
            "before",
            "float64",
            "Loss at the start of the window, or in the first snapshot if there is none, nats.",
            low=0,
        ),
        Column(
            "after", "float64", "Loss at the end of the window, or in the last snapshot if there is none, nats.", low=0
        ),
        Column("step_before", "int64", "Training step of the snapshot before.", low=0),
        Column("step_after", "int64", "Training step of the snapshot after.", low=0),
    ),
)
