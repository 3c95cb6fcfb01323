"""The claims as a table for people."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from induction.tables.claims import ALL, INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED

MARKS = {SUPPORTED: "**supported**", NOT_SUPPORTED: "**not supported**", INCONCLUSIVE: "inconclusive"}


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for each claim: its verdict and why, and the figures of its subjects; docs/claims.md explains them.

    Args:
        rows: rows of table `claims`, that of all subjects first in each claim.
    """
    header = ("#", "claim", "the paper", "this study", "verdict", "chance", "window support", "why", "rule amended")
    lines = [f"| {' | '.join(header)} |", "|--:|---|---|---|---|--:|--:|---|---|"]
    for whole in rows:
        if whole["subject"] == ALL:
            of_claim = [row for row in rows if row["claim"] == whole["claim"]]
            measured = figures(of_claim, with_verdicts=True) or "–"
            judged = (MARKS[whole["verdict"]], chance(whole), support(whole), whole["reason"], whole["amended"] or "–")
            cells = (str(whole["claim"]), whole["statement"], whole["paper"], measured, *judged)
            lines.append("| " + " | ".join(escaped(cell) for cell in cells) + " |")
    return "\n".join(lines)


def chance(row: Mapping[str, Any]) -> str:
    """Return the chance that decides a row of table `claims`; empty if none does."""
    return "" if row["chance_adjusted"] is None else f"{row['chance_adjusted']:.2g}"


def support(row: Mapping[str, Any]) -> str:
    """Return the support of the window on which a row of table `claims` rests; empty if it rests on none."""
    return "" if row["window_support"] is None else f"{row['window_support']:.2f}"


def figures(rows: Sequence[Mapping[str, Any]], with_verdicts: bool = False) -> str:
    """Return the figures of a claim's subjects with their intervals, each quantity named once; empty if there are none.

    Args:
        rows: rows of table `claims`, of one claim.
        with_verdicts: whether each has its verdict, chance and window support with it.
    """
    measured = [row for row in rows if row["estimate"] is not None]
    shown = []
    for (quantity, over), group in groupby(measured, key=lambda row: (row["quantity"], row["interval_over"])):
        of_group = [
            (f"{row['subject']} " if len(measured) > 1 else "") + _figure(row) + (_judged(row) if with_verdicts else "")
            for row in group
        ]
        shown.append(f"{quantity}{'' if over == 'none' else f' (intervals over {over})'}: {'; '.join(of_group)}")
    return "<br>".join(shown)


def _judged(row: Mapping[str, Any]) -> str:
    by_chance, window = chance(row), support(row)
    parts = [row["verdict"], by_chance and f"chance {by_chance}", window and f"window support {window}"]
    return f" ({', '.join(part for part in parts if part)})"


def _figure(row: Mapping[str, Any]) -> str:
    low, high = (_short(row[f"estimate_{end}"]) for end in ("low", "high"))
    return f"{_short(row['estimate'])} [{low}, {high}]"


def _short(value: float) -> str:
    return f"{value / 1e6:.2f}M" if abs(value) >= 1e4 else f"{value:.3g}"


def escaped(text: str) -> str:
    """Return a text as it can stand in a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")
