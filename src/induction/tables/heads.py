"""The table `heads`: scores of heads."""

from induction.tables.columns import HEAD, LAYER, STEP, TOKENS, with_error
from induction.tables.table import Column, Table

HEADS = Table(
    name="heads",
    row="a head, in a snapshot",
    key=("model", "step", "layer", "head"),
    columns=(
        STEP,
        TOKENS,
        LAYER,
        HEAD,
        *with_error("prefix_matching", "Attention on the tokens that followed this token's earlier copies.", 0, 1.0001),
        *with_error(
            "copying", "2r - 1, r against the mean rise of the other tokens (random head: 0).", -1.0001, 1.0001
        ),
        *with_error(
            "copying_literal", "4r - 1, r against the rise of all the sample's tokens (literal).", -1.0001, 1.0001
        ),
        *with_error("previous_token", "Attention on the previous token, on real text.", 0, 1.0001),
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
