"""The table `pca`: snapshots on shared components."""

from induction.tables.columns import STEP, TOKENS
from induction.tables.table import Column, Table

PCA = Table(
    name="pca",
    row="a snapshot",
    key=("model", "step"),
    partitioned=False,
    columns=(
        Column("model", "string", "Name of the model."),
        STEP,
        TOKENS,
        Column("pc1", "float64", "First shared component, nats."),
        Column("pc2", "float64", "Second shared component, nats."),
        Column("pc1_explained", "float64", "Share of the variance explained by the first component.", 0, 1.0001),
        Column("pc2_explained", "float64", "Share of the variance explained by the second component.", 0, 1.0001),
    ),
)
