"""Tables claims and orders as the report shows them."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from induction.errors import InductionError
from induction.tables.claims import ALL, CLAIMS, INCONCLUSIVE, NOT_SUPPORTED, ORDERS, SUPPORTED, VERDICTS
from induction.tables.table import remake

SYMBOLS = {SUPPORTED: "✓", NOT_SUPPORTED: "✗", INCONCLUSIVE: "?"}
"""Verdicts are shown by word and sign as well as by colour."""


@dataclass(frozen=True)
class Claim:
    """A claim: the row of all its subjects, and a row for each."""

    whole: dict[str, Any]
    subjects: tuple[dict[str, Any], ...]

    @property
    def estimated(self) -> tuple[dict[str, Any], ...]:
        """The subjects that have an estimate."""
        return tuple(row for row in self.subjects if row["estimate"] is not None)

    @property
    def counts(self) -> list[tuple[str, int]]:
        """How many subjects have which verdict, those that none has left out."""
        counts = Counter(row["verdict"] for row in self.subjects)
        return [(verdict, counts[verdict]) for verdict in VERDICTS if counts[verdict]]

    @property
    def shown(self) -> dict[str, Any] | None:
        """The row whose estimate stands for the claim: its own, or that of its only subject."""
        if self.whole["estimate"] is not None:
            return self.whole
        return self.estimated[0] if len(self.subjects) == len(self.estimated) == 1 else None

    @property
    def span(self) -> tuple[float, float] | None:
        """The least and the greatest estimate of its subjects, where all are of one quantity."""
        values = [row["estimate"] for row in self.estimated]
        return (min(values), max(values)) if len({row["quantity"] for row in self.estimated}) == 1 else None

    @property
    def inconclusive(self) -> list[dict[str, Any]]:
        """The subjects of which it is inconclusive."""
        return [row for row in self.subjects if row["verdict"] == INCONCLUSIVE]


def read_claims(path: Path) -> list[Claim]:
    """Read table `claims`, by number; subjects keep their order.

    Raises:
        InductionError: the file is missing, damaged, or a claim has no verdict as a whole.
    """
    parts = CLAIMS.read(path).sort("claim", maintain_order=True).partition_by("claim", maintain_order=True)
    return [_claim(part, path) for part in parts]


def read_orders(path: Path) -> list[list[dict[str, Any]]]:
    """Read table `orders`: for each architecture its orders, the likeliest first.

    Raises:
        InductionError: the file is missing or damaged.
    """
    parts = ORDERS.read(path).partition_by("subject", maintain_order=True)
    return [part.sort("probability", descending=True, maintain_order=True).to_dicts() for part in parts]


def counts_of(claims: list[Claim]) -> dict[str, int]:
    """Return how many claims have each verdict, as a whole."""
    counts = Counter(claim.whole["verdict"] for claim in claims)
    return {verdict: counts[verdict] for verdict in VERDICTS}


def _claim(rows: pl.DataFrame, path: Path) -> Claim:
    whole = rows.filter(subject=ALL).to_dicts()
    if not whole:
        number = rows["claim"][0]
        raise InductionError(f"{path}: claim {number} has no row of subject {ALL}. {remake(path)}")
    return Claim(whole[0], tuple(rows.filter(pl.col("subject") != ALL).to_dicts()))
