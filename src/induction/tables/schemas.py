"""Every table of the workflow. Losses are in nats, `tokens` is training tokens seen, token indices are 1-based."""

from induction.tables.table import Column, Table

_STEP = Column("step", "int64", "Training step of the snapshot.", low=0)
_TOKENS = Column("tokens", "int64", "Training tokens seen by the snapshot.", low=0)
_LAYER = Column("layer", "int16", "Layer, counted from 0.", low=0)
_HEAD = Column("head", "int16", "Head of the layer, counted from 0.", low=0)


def _with_interval(name: str, about: str, nullable: bool = False) -> tuple[Column, Column, Column]:
    return (
        Column(name, "float64", about, nullable=nullable),
        Column(f"{name}_low", "float64", f"Lower end of the bootstrap interval of {name}.", nullable=nullable),
        Column(f"{name}_high", "float64", f"Upper end of the bootstrap interval of {name}.", nullable=nullable),
    )


def _with_error(name: str, about: str, low: float | None = None, high: float | None = None) -> tuple[Column, Column]:
    return (
        Column(name, "float32", about, low=low, high=high),
        Column(f"{name}_se", "float32", f"Standard error of {name} over sequences.", low=0),
    )


TRAINING = Table(
    name="training",
    row="a logged training step",
    key=("model", "step"),
    columns=(
        _STEP,
        _TOKENS,
        Column("loss", "float32", "Mean training loss since the row before, nats.", low=0),
        Column("gradient_norm", "float32", "Norm of the whole gradient before clipping.", low=0),
        Column("learning_rate", "float32", "AdamW's learning rate.", low=0),
        Column("tokens_per_second", "float32", "Training speed since the row before.", low=0),
    ),
)

LOSSES = Table(
    name="losses",
    row="an example, by a snapshot",
    key=("model", "step", "example"),
    columns=(
        _STEP,
        _TOKENS,
        Column("example", "int64", "Evaluation example, counted from 0.", low=0),
        Column("loss", "float32[]", "Loss of each predicted token, nats; entry i-1 is token i.", low=0),
    ),
)

HEADS = Table(
    name="heads",
    row="a head, in a snapshot",
    key=("model", "step", "layer", "head"),
    columns=(
        _STEP,
        _TOKENS,
        _LAYER,
        _HEAD,
        *_with_error(
            "prefix_matching", "Attention on the tokens that followed this token's earlier copies.", 0, 1.0001
        ),
        *_with_error(
            "copying", "2r - 1, r against the mean rise of the other tokens (random head: 0).", -1.0001, 1.0001
        ),
        *_with_error(
            "copying_literal", "4r - 1, r against the rise of all the sample's tokens (literal).", -1.0001, 3.0001
        ),
        *_with_error("previous_token", "Attention on the previous token, on real text.", 0, 1.0001),
        Column(
            "ov_copying", "float32", "Sum of the OV circuit's eigenvalues over the sum of their sizes.", -1.0001, 1.0001
        ),
        Column(
            "qk_trace",
            "float32",
            "Trace of the QK circuit through earlier heads; attention-only, not layer 0.",
            nullable=True,
        ),
        Column(
            "k_composition",
            "float32",
            "Greatest K-composition with a head of an earlier layer, less chance.",
            nullable=True,
        ),
        Column(
            "q_composition",
            "float32",
            "Greatest Q-composition with a head of an earlier layer, less chance.",
            nullable=True,
        ),
        Column(
            "v_composition",
            "float32",
            "Greatest V-composition with a head of an earlier layer, less chance.",
            nullable=True,
        ),
    ),
)

ABLATIONS = Table(
    name="ablations",
    row="an ablated head of a snapshot, and one row for the intact model (mode: intact; layer and head: empty)",
    key=("model", "step", "mode", "layer", "head"),
    columns=(
        _STEP,
        _TOKENS,
        Column("mode", "string", "intact, pattern-preserving or full."),
        Column("layer", "int16", "Layer of the ablated head, counted from 0.", low=0, nullable=True),
        Column("head", "int16", "The ablated head of the layer, counted from 0.", low=0, nullable=True),
        Column("loss", "float64", "Mean of random_index_loss, nats.", low=0),
        Column("icl_score", "float64", "Loss at the late index minus loss at the early one, nats."),
        Column("icl_windowed", "float64", "Mean loss over the late window minus over the early one, nats."),
        Column("icl_change", "float64", "icl_windowed minus the intact model's; positive: the head helps."),
        Column("icl_change_se", "float64", "Its standard error, by a paired bootstrap over examples.", low=0),
        Column(
            "random_index_loss",
            "float32[]",
            "Loss at each example's random index, nats, in the examples' order.",
            low=0,
        ),
    ),
)

CURVES = Table(
    name="curves",
    row="a snapshot",
    key=("model", "step"),
    columns=(
        _STEP,
        _TOKENS,
        *_with_interval("loss", "Mean loss at the examples' random indices, nats."),
        *_with_interval("mean_loss", "Mean loss over all indices, nats."),
        *_with_interval("icl_score", "Loss at the late index minus loss at the early one, nats."),
        *_with_interval("icl_windowed", "Mean loss over the late window minus over the early one, nats."),
        Column("best_prefix_matching", "float64", "Highest prefix matching of any head.", 0, 1.0001),
        Column("best_previous_token", "float64", "Highest previous-token score of any head.", 0, 1.0001),
        Column(
            "best_induction_copying",
            "float64",
            "Copying of the head with the highest prefix matching.",
            -1.0001,
            1.0001,
        ),
        Column("loss_by_index", "float32[]", "Mean loss of each predicted token, nats; entry i-1 is token i.", low=0),
    ),
)

PHASES = Table(
    name="phases",
    row="a model and signal",
    key=("model", "signal"),
    columns=(
        Column("signal", "string", "icl, prefix_matching, previous_token or loss."),
        Column("found", "bool", "Whether the signal has a window."),
        *_with_interval("start_tokens", "Training tokens at which the window begins.", nullable=True),
        *_with_interval("midpoint_tokens", "Training tokens at which the signal changes fastest.", nullable=True),
        *_with_interval("end_tokens", "Training tokens at which the window ends.", nullable=True),
        Column("start_step", "int64", "The last snapshot at or before the start.", low=0, nullable=True),
        Column("end_step", "int64", "The first snapshot at or after the end.", low=0, nullable=True),
        Column("change", "float64", "Change of the signal inside the window (nats, or score).", nullable=True),
        Column("support", "float64", "Share of bootstrap resamples that have a window.", 0, 1),
        Column("reason", "string", "Why there is none, or the rule that found it."),
    ),
)

ATTRIBUTIONS = Table(
    name="attributions",
    row="an ablated head of a snapshot",
    key=("model", "step", "mode", "layer", "head"),
    columns=(
        _STEP,
        _TOKENS,
        Column("mode", "string", "pattern-preserving or full."),
        _LAYER,
        _HEAD,
        Column("before_after", "float64", "<loss change by ablation, unit vector of the window's loss change>, nats."),
        Column("before_after_se", "float64", "Its standard error, by a bootstrap over examples.", low=0),
        Column("fraction_undone", "float64", "Share of the window's loss change that the ablation undoes."),
        Column("fraction_undone_se", "float64", "Its standard error, by a bootstrap over examples.", low=0),
    ),
)

PCA = Table(
    name="pca",
    row="a snapshot",
    key=("model", "step"),
    partitioned=False,
    columns=(
        Column("model", "string", "Name of the model."),
        _STEP,
        _TOKENS,
        Column("pc1", "float64", "First shared component, nats."),
        Column("pc2", "float64", "Second shared component, nats."),
        Column("pc1_explained", "float64", "Share of the variance explained by the first component.", 0, 1.0001),
        Column("pc2_explained", "float64", "Share of the variance explained by the second component.", 0, 1.0001),
    ),
)

TABLES = {table.name: table for table in (TRAINING, LOSSES, HEADS, ABLATIONS, CURVES, PHASES, ATTRIBUTIONS, PCA)}
