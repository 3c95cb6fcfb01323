"""The claims as a table for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from induction.tables.claims import ALL, CANNOT_BE_TOLD, FAILS, HOLDS

_MARKS = {HOLDS: "**holds**", FAILS: "**fails**", CANNOT_BE_TOLD: "cannot be told"}


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for each claim: its verdict and why, and the figures of its subjects.

    Args:
        rows: rows of table `claims`, that of all subjects first in each claim.
    """
    lines = ["| # | claim | the paper | this study | verdict | why |", "|--:|---|---|---|---|---|"]
    for whole in rows:
        if whole["subject"] != ALL:
            continue
        subjects = [row for row in rows if row["claim"] == whole["claim"] and row["subject"] != ALL]
        measured = "<br>".join(_told(row, len(subjects) > 1) for row in subjects if row["estimate"] is not None)
        cells = (str(whole["claim"]), whole["statement"], whole["paper"], measured or "–", _MARKS[whole["verdict"]])
        lines.append("| " + " | ".join(_escaped(cell) for cell in (*cells, whole["reason"])) + " |")
    return "\n".join(lines)


def _told(row: Mapping[str, Any], named: bool) -> str:
    """Return a subject's figure with its interval, and what that is over."""
    value, low, high = (f"{row[name]:.3g}" for name in ("estimate", "estimate_low", "estimate_high"))
    figure = f"{row['quantity']}: {value} [{low}, {high}]"
    over = "" if row["interval_over"] == "none" else f" over {row['interval_over']}"
    return f"{row['subject']}: {figure}{over}" if named else f"{figure}{over}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
