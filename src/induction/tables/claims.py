"""The tables `claims` and `orders`: what a study says of the paper's claims, and which signal comes first."""

from induction.tables.columns import with_interval
from induction.tables.table import Column, Table

SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE = "supported", "not supported", "inconclusive"
VERDICTS = (SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE)
ALL = "all"
"""The subject of the row that sums up a claim."""

CLAIMS = Table(
    name="claims",
    row="a claim about a subject: an architecture, a pair, or all together",
    key=("claim", "subject"),
    partitioned=False,
    version=2,
    columns=(
        Column("claim", "int16", "Number of the claim, 1 to 29.", 1, 29),
        Column("statement", "string", "What the paper claims."),
        Column("paper", "string", "The paper's figure: a number or a finding."),
        Column("rule", "string", "When the claim is supported, not supported or inconclusive, for each subject."),
        Column("common_rule", "string", "What all rules have in common, and how a claim as a whole is judged."),
        Column(
            "amended",
            "string",
            "Each change of the rule after claims were first judged on data: date and what was changed; empty if none.",
        ),
        Column("subject", "string", "What is judged, in words; all: the claim as a whole, from its subjects."),
        Column("n_seeds", "int16", "Seeds behind the estimate.", low=0),
        Column("quantity", "string", "What the estimate is of, with its unit; empty in the row of all."),
        *with_interval("estimate", "This study's figure; empty if there is none.", nullable=True),
        Column("interval_over", "string", "What the interval is over: examples, seeds, models, heads; or none."),
        Column(
            "chance",
            "float64",
            "Probability that at least as many change points agree if they lie at random times; of a claim as a whole "
            "over all its models; empty where no change points are compared.",
            0,
            1,
            nullable=True,
        ),
        Column(
            "chance_adjusted",
            "float64",
            "The same, adjusted by Holm's method: of a subject over the claim's subjects, of a claim as a whole over "
            "the claims of co-occurrence. Agreement supports a claim only where it is below claims.max_chance.",
            0,
            1,
            nullable=True,
        ),
        Column(
            "window_support",
            "float64",
            "Share of the bootstrap resamples that have the window on which the verdict rests (phases.min_support or "
            "more: it is found; less: there is none); of several windows the most marginal; empty where it rests on "
            "none.",
            0,
            1,
            nullable=True,
        ),
        Column("verdict", "string", "supported, not supported, or inconclusive."),
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
        Column("order", "string", "The signals, the first one first, separated by <."),
        Column("n_seeds", "int16", "Seeds behind the probability.", low=0),
        *with_interval(
            "probability",
            "That the signals begin to change in this order: over resamples, each onset anywhere between its two "
            "snapshots.",
        ),
        Column("reason", "string", "What the interval is over, and how coarse the snapshots are."),
    ),
)
