"""The claims as a table for people."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from induction.tables.claims import ALL, CANNOT_BE_TOLD, FAILS, HOLDS

MARKS = {HOLDS: "**holds**", FAILS: "**fails**", CANNOT_BE_TOLD: "cannot be told"}


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for each claim: its verdict and why, and the figures of its subjects.

    Args:
        rows: rows of table `claims`, that of all subjects first in each claim.
    """
    lines = ["| # | claim | the paper | this study | verdict | why |", "|--:|---|---|---|---|---|"]
    for whole in rows:
        if whole["subject"] == ALL:
            measured = figures([row for row in rows if row["claim"] == whole["claim"]]) or "–"
            cells = (str(whole["claim"]), whole["statement"], whole["paper"], measured, MARKS[whole["verdict"]])
            lines.append("| " + " | ".join(escaped(cell) for cell in (*cells, whole["reason"])) + " |")
    return "\n".join(lines)


def figures(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the figures of a claim's subjects with their intervals, each quantity named once; empty if there are none.

    Args:
        rows: rows of table `claims`, of one claim.
    """
    measured = [row for row in rows if row["estimate"] is not None]
    told = []
    for (quantity, over), group in groupby(measured, key=lambda row: (row["quantity"], row["interval_over"])):
        subjects = [f"{row['subject']} {_figure(row)}" for row in group]
        shown = "; ".join(subjects) if len(measured) > 1 else _figure(measured[0])
        told.append(f"{quantity}{'' if over == 'none' else f' (intervals over {over})'}: {shown}")
    return "<br>".join(told)


def _figure(row: Mapping[str, Any]) -> str:
    low, high = (_short(row[f"estimate_{end}"]) for end in ("low", "high"))
    return f"{_short(row['estimate'])} [{low}, {high}]"


def _short(value: float) -> str:
    return f"{value / 1e6:.2f}M" if abs(value) >= 1e4 else f"{value:.3g}"


def escaped(text: str) -> str:
    """Return a text as it can stand in a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")
