"""Mistakes that a user or a file can make, told without a traceback."""

from collections.abc import Iterable
from difflib import get_close_matches


class InductionError(Exception):
    """What happened, where, what was required and what to do next, in one message."""


class UnreadableError(InductionError):
    """A file that the operating system does not let us read; it may be whole, and must not be replaced for that."""


def nearest(word: str, permitted: Iterable[str]) -> str:
    """Return “Did you mean …?” for the permitted word closest to `word`, or nothing where none is close."""
    close = get_close_matches(word, list(permitted), n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""
