"""What every part of the configuration is made of: frozen models that refuse words they do not know."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]


class Strict(BaseModel):
    """A frozen model that refuses words it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
