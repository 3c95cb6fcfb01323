"""Where parts of tables lie, and what training writes beside them, for what finds them without a rule's help."""

from pathlib import Path

PROGRESS = "progress.jsonl"
"""In a model's folder: how far its training has come, a line now and then."""


def block_of(tables: Path, table: str, model: str, block: int) -> Path:
    """Return the part of a table that is of one block of a model, in the folder `results/tables`."""
    return tables / table / f"model={model}" / f"block-{block}.parquet"


def part_of(tables: Path, table: str, model: str) -> Path:
    """Return the part of a table that has one for each model."""
    return tables / table / f"model={model}" / "part.parquet"
