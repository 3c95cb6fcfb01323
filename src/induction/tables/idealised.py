"""The table `idealised`: heads whose attention is replaced by the ideal one."""

from induction.tables.columns import STEP, TOKENS, with_interval
from induction.tables.table import Column, Table

PREVIOUS_TOKEN = "previous token"
AFTER_ONE = "[A][B]…[A]"
AFTER_TWO = "[A][B]…[A] and [A][B][C]…[A][B]"

IDEALISED = Table(
    name="idealised",
    row="a class of heads and an ideal pattern, in a model's last snapshot",
    key=("model", "step", "class", "pattern"),
    columns=(
        STEP,
        TOKENS,
        Column("class", "string", "Class of the heads that are idealised: previous-token or induction."),
        Column("heads", "string", "The heads, as LAYER.HEAD, parted by blanks."),
        Column("pattern", "string", f"{PREVIOUS_TOKEN}; {AFTER_ONE}; or {AFTER_TWO}."),
        *with_interval("loss", "Mean loss of all tokens, intact, nats."),
        *with_interval("loss_ideal", "The same with the ideal patterns, nats."),
        *with_interval("loss_ablated", "The same with the heads' results set to zero, nats."),
        *with_interval(
            "recovered",
            "Recovered share of what the heads are worth, 1 - (ideal - intact)/(ablated - intact); empty where they "
            "are worth nothing (the interval of ablated - intact reaches 0).",
            nullable=True,
        ),
    ),
)
