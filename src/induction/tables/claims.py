"""The tables `claims` and `orders`: what a study says of the paper's claims, and which signal comes first."""

from induction.tables.columns import with_interval
from induction.tables.table import Column, Table

HOLDS, FAILS, CANNOT_BE_TOLD = "holds", "fails", "cannot be told"
VERDICTS = (HOLDS, FAILS, CANNOT_BE_TOLD)
ALL = "all"
"""The subject of the row that sums up a claim."""

CLAIMS = Table(
    name="claims",
    row="a claim about a subject: an architecture, a pair, or all together",
    key=("claim", "subject"),
    partitioned=False,
    columns=(
        Column("claim", "int16", "Number of the claim, 1 to 29.", 1, 29),
        Column("statement", "string", "What the paper claims."),
        Column("paper", "string", "The paper's figure: a number or a finding."),
        Column("rule", "string", "When it holds and when it fails, written before any was judged."),
        Column("subject", "string", "What is judged, in words; all: the claim as a whole, from its subjects."),
        Column("n_seeds", "int16", "Seeds behind the estimate.", low=0),
        Column("quantity", "string", "What the estimate is of, with its unit; empty in the row of all."),
        *with_interval("estimate", "This study's figure; empty if there is none.", nullable=True),
        Column("interval_over", "string", "What the interval is over: examples, seeds, heads, snapshots; or none."),
        Column(
            "chance",
            "float64",
            "How often change points at random times would agree as well; empty where none are compared.",
            0,
            1,
            nullable=True,
        ),
        Column("verdict", "string", "holds, fails, or cannot be told."),
        Column("reason", "string", "Why that is the verdict, in words."),
    ),
)

ORDERS = Table(
    name="orders",
    row="a statement on the order of signals, by an architecture",
    key=("subject", "order"),
    partitioned=False,
    columns=(
        Column("subject", "string", "The architecture, in words."),
        Column("order", "string", "The signals, the first one first, parted by <."),
        Column("n_seeds", "int16", "Seeds behind the probability.", low=0),
        *with_interval(
            "probability",
            "That the signals begin to change in this order: over resamples, each onset anywhere between its two "
            "snapshots.",
        ),
        Column("reason", "string", "What the interval is over, and how coarse the snapshots are."),
    ),
)
