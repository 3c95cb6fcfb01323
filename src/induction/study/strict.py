"""What every part of the configuration is made of: frozen models that refuse words they do not know.

Every number has finite bounds and every text and list a greatest length, so that a slip of the hand is refused before
anything is computed. `tests/study/test_ranges.py` finds a field that has none.
"""

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

MOST_ENTRIES = 10_000
"""Greatest number of entries of a list or mapping of the configuration."""

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
LINE_PATTERN = r"^\P{Cc}*$"
WORD_PATTERN = r"^[^\s'\"\p{Cc}]+$"
IMAGE_PATTERN = r"^[\p{L}\p{N}_./:@+=,%-]+$"
PACKAGE_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
VERSION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9.!+_-]*$"
DATA_SET_PATTERN = r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$"
REVISION_PATTERN = r"^[^\s\p{Cc}~^:?*\[\\]+$"
MOST_CHARACTERS = 128
"""Greatest length of a name: files are called after names, with suffixes, and a file name has at most 255 bytes."""

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1, le=10**15)]
PositiveFloat = Annotated[float, Field(ge=1e-12, le=1e15)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""What the generators of NumPy and torch both take."""
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=MOST_CHARACTERS)]
Line = Annotated[str, Field(pattern=LINE_PATTERN, max_length=1000)]
"""Text without line breaks or other control characters."""

_T = TypeVar("_T")


def _different(values: tuple[_T, ...]) -> tuple[_T, ...]:
    seen: set[_T] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{value!r} is listed twice")
        seen.add(value)
    return values


Several = Annotated[tuple[_T, ...], Field(max_length=MOST_ENTRIES)]
"""A list."""
Different = Annotated[tuple[_T, ...], Field(max_length=MOST_ENTRIES), AfterValidator(_different)]
"""A list in which no value is repeated."""


class Closed(BaseModel):
    """A frozen model that refuses words it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Strict(Closed):
    """A closed model in which truth values, numbers and text are not converted into each other; numbers are finite."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _lists_as_tuples(cls, content: Any) -> Any:
        # YAML and JSON have lists, where a strict model wants tuples.
        return _as_tuples(content) if isinstance(content, dict) else content


def _as_tuples(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _as_tuples(value) for key, value in content.items()}
    return tuple(_as_tuples(value) for value in content) if isinstance(content, list) else content
