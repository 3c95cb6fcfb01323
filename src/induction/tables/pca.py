"""The table `pca`: snapshots on shared components."""

from induction.tables.columns import STEP, TOKENS
from induction.tables.table import Column, Table

PCA = Table(
    name="pca",
    row="a snapshot",
    key=("model", "step"),
    partitioned=False,
    version=2,
    columns=(
        Column("group", "string", "Models of one group share their components and their evaluation set."),
        Column("model", "string", "Name of the model."),
        STEP,
        TOKENS,
        Column("pc1", "float64", "First shared component, nats; 0 in a group without components."),
        Column("pc2", "float64", "Second shared component, nats; 0 in a group without components."),
        Column(
            "turn",
            "float64",
            "Angle by which the trajectory turns at the snapshot, degrees; empty where it has no way before or after.",
            0,
            180,
            nullable=True,
        ),
        Column("turn_low", "float64", "Lower end of the bootstrap interval of turn.", 0, 180, nullable=True),
        Column("turn_high", "float64", "Upper end of the bootstrap interval of turn.", 0, 180, nullable=True),
        Column(
            "pc1_explained",
            "float64",
            "Share of the variance explained by the first component; empty in a group without components: it has one "
            "snapshot, or the same losses in all.",
            0,
            1.0001,
            nullable=True,
        ),
        Column(
            "pc2_explained",
            "float64",
            "Share of the variance explained by the second component; empty in a group without components.",
            0,
            1.0001,
            nullable=True,
        ),
    ),
)
