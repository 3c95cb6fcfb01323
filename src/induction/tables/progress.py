"""The lines of `progress.jsonl`: how far a model's training has come, and what looks at the model have shown."""

import math
from collections.abc import Iterator
from typing import Any

from induction.files import json_rows

_COUNTS = ("step", "tokens")
_NUMBERS = ("loss", "tokens_per_second", "time")
_LOOK_TEXTS = ("phase_change",)


def progress_rows(text: str) -> Iterator[dict[str, Any]]:
    """Yield the lines that are whole and of the declared types; others are passed over.

    A killed writer leaves half a line; a full disk, a repaired file system or an editor can leave anything.

    Yields:
        `block`, its name; `step` and `tokens`, counts; `loss`, `tokens_per_second` and `time`, finite numbers; and
        `look`, None or what a look has shown: `step` and `tokens`, and names with finite numbers or, of
        `phase_change`, a text.
    """
    for row in json_rows(text):
        if not isinstance(row.get("block"), str):
            continue
        if not all(_is_count(row.get(name)) for name in _COUNTS) or not all(_is_number(row.get(n)) for n in _NUMBERS):
            continue
        look = row.get("look")
        yield {**row, "look": look if _is_look(look) else None}


def _is_look(look: Any) -> bool:
    return (
        isinstance(look, dict)
        and all(_is_count(look.get(name)) for name in _COUNTS)
        and all(isinstance(value, str) if name in _LOOK_TEXTS else _is_number(value) for name, value in look.items())
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)
