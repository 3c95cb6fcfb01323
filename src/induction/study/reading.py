"""Read the configuration; tell a mistake by file, key, value and what is permitted."""

import types
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from induction.errors import InductionError, nearest
from induction.files import cannot_read

CONFIG_FILE = Path("config/config.yaml")
MODELS_FILE = Path("config/models.yaml")

ModelT = TypeVar("ModelT", bound=BaseModel)


class _UniqueKeys(yaml.SafeLoader):
    """Reads YAML safely, and refuses a key that stands twice in one place: the first would be lost unseen."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.value != "<<"]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice[0]} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Read a YAML file of the configuration.

    Raises:
        InductionError: the file is missing or is not YAML.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except FileNotFoundError:
        raise InductionError(
            f"{path}: no such file. The configuration is read from the folder {path.parent}/"
        ) from None
    except OSError as error:
        raise cannot_read(path, "file of the configuration", error) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InductionError(f"{path}: not YAML: {error}") from error


def validate(content: Any, model: type[ModelT], where: str) -> ModelT:
    """Return `content` as a `model`.

    Raises:
        InductionError: naming `where`, the key's path, the value and what is permitted, one line a mistake.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InductionError("\n".join(_told(entry, model, where) for entry in error.errors())) from None


def _told(entry: Any, model: type[BaseModel], where: str) -> str:
    location = entry["loc"]
    where = f"{where}: {path}" if (path := ".".join(str(part) for part in location)) else where
    if entry["type"] == "extra_forbidden":
        owner = _model_at(model, location[:-1])
        fields = list(owner.model_fields) if owner else []
        what = "Fields that can be swept" if owner and owner.__name__ == "Sweep" else "Permitted"
        return f"{where}: unknown field. {what}: {', '.join(fields)}.{nearest(str(location[-1]), fields)}"
    if entry["type"] == "missing":
        return f"{where}: this field is required."
    message = entry["msg"].removeprefix("Value error, ")
    value = "" if entry["type"] == "value_error" else f" (is: {entry['input']!r})"
    hint = ""
    if entry["type"] == "literal_error":
        hint = nearest(str(entry["input"]), entry["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", "))
    return f"{where}: {message}{value}.{hint}"


def _model_at(kind: Any, location: tuple[Any, ...]) -> type[BaseModel] | None:
    """Follow a pydantic error's location through the types, to the model whose field is wrong."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        found = (_model_at(option, location) for option in get_args(kind) if option is not type(None))
        return next((option for option in found if option), None)
    if get_origin(kind) is dict:
        return _model_at(get_args(kind)[1], location[1:])
    if get_origin(kind) is tuple:
        return _model_at(get_args(kind)[0], location[1:])
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if not location:
            return kind
        field = kind.model_fields.get(str(location[0]))
        return _model_at(field.annotation, location[1:]) if field else None
    return None
