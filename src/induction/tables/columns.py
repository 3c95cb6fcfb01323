"""Columns that several tables have."""

from induction.tables.table import Column

STEP = Column("step", "int64", "Training step of the snapshot.", low=0)
TOKENS = Column("tokens", "int64", "Training tokens seen by the snapshot.", low=0)
LAYER = Column("layer", "int16", "Layer, counted from 0.", low=0)
HEAD = Column("head", "int16", "Head of the layer, counted from 0.", low=0)


def with_interval(name: str, about: str, nullable: bool = False) -> tuple[Column, Column, Column]:
    """Return a column and the two ends of its bootstrap interval."""
    return (
        Column(name, "float64", about, nullable=nullable),
        Column(f"{name}_low", "float64", f"Lower end of the bootstrap interval of {name}.", nullable=nullable),
        Column(f"{name}_high", "float64", f"Upper end of the bootstrap interval of {name}.", nullable=nullable),
    )


def with_error(name: str, about: str, low: float | None = None, high: float | None = None) -> tuple[Column, Column]:
    """Return a column and its standard error over sequences."""
    return (
        Column(name, "float32", about, low=low, high=high),
        Column(f"{name}_se", "float32", f"Standard error of {name} over sequences.", low=0),
    )
