"""How numbers and words are written; numbers are rounded for the eye, whole in the element that carries them."""

import math

from markupsafe import Markup

_DIGITS = 3
"""Of a number without an interval."""


def number(value: float | None, digits: int = _DIGITS) -> Markup:
    """Return a number as <data>, whose attribute `value` holds all of it; an em dash where there is none."""
    if value is None:
        return Markup("—")
    return _element(value, _decimals(abs(value), digits))


def with_interval(value: float | None, low: float | None, high: float | None) -> Markup:
    """Return a number with its interval, all three rounded to two digits of the interval's width."""
    if value is None:
        return Markup("—")
    if low is None or high is None:
        return number(value)
    decimals = _decimals(high - low, 2) if high > low else _decimals(abs(value), _DIGITS)
    shown = [_element(one, decimals) for one in (value, low, high)]
    return Markup("{} <span class='interval'>[{}, {}]</span>").format(*shown)


def count(value: int) -> str:
    """Return a whole number with commas."""
    return f"{value:,}"


def millions(value: float) -> str:
    """Return a count of tokens in words."""
    for size, name in ((1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Return a time in hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def with_code(text: str) -> Markup:
    """Return text in which `words` between back quotes are code."""
    pieces = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(one) if at % 2 else one for at, one in enumerate(pieces))


def _decimals(size: float, digits: int) -> int:
    """Return the decimals that show so many digits of a number; below 0 for tens, hundreds and so on."""
    if not size:
        return 0
    return digits - 1 - math.floor(math.log10(size))


def _element(value: float, decimals: int) -> Markup:
    rounded = round(value, decimals) + 0.0  # no -0
    text = f"{rounded:,.{max(decimals, 0)}f}".replace("-", "−")
    return Markup('<data value="{}">{}</data>').format(repr(value), text)
