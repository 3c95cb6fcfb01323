"""The form of a block's recipe, as `Model.recipe` gives it to the job that trains: seen to before anything is made."""

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import Field, create_model

from induction.study.architecture import Architecture
from induction.study.config import ModelFields
from induction.study.strict import Strict

_NOT_TRAINED_BY = {*Architecture.model_fields, "epochs", "n_steps", "snapshots", "block_snapshots", "ablated_examples"}


def _settings() -> type[Strict]:
    """Return the fields that a recipe holds; none has a default but those that are left out where they are not set."""
    fields: dict[str, Any] = {}
    for name, field in ModelFields.model_fields.items():
        kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        if name not in _NOT_TRAINED_BY:
            fields[name] = (kind, None if field.default is None else ...)
    return create_model("Settings", __base__=Strict, __doc__="How a model is trained.", **fields)


if TYPE_CHECKING:
    Settings: TypeAlias = Strict
else:
    Settings = _settings()


class Recipe(Strict):
    """All that can affect the weights of one block."""

    training_version: int
    architecture: Architecture
    settings: Settings
    start: Annotated[int, Field(ge=0)]
    steps: Annotated[tuple[int, ...], Field(min_length=1)]
