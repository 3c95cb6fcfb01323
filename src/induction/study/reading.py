"""Read the configuration; report a mistake by file, key, value and what is permitted."""

import re
import types
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from induction.errors import InductionError, nearest
from induction.files import cannot_read
from induction.study.strict import (
    DATA_SET_PATTERN,
    IMAGE_PATTERN,
    LINE_PATTERN,
    NAME_PATTERN,
    PACKAGE_PATTERN,
    REVISION_PATTERN,
    VERSION_PATTERN,
    WORD_PATTERN,
)

CONFIG_FILE = Path("config/config.yaml")
MODELS_FILE = Path("config/models.yaml")

ModelT = TypeVar("ModelT", bound=BaseModel)

_MOST_BYTES = 4_000_000
_MOST_NESTED = 50
_MOST_VALUES = 200_000
"""Greatest number of values of a file, each alias counted as all that it repeats."""
_MOST_DIGITS = 100
_MOST_SHOWN = 80
"""Characters of a value that a message shows."""

_TAG = "tag:yaml.org,2002:"
_PLAIN = {
    "null": re.compile(r"~|null|Null|NULL|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    "float": re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
}
"""What a scalar without quotes is, by the core schema of YAML 1.2, section 10.3.2; anything else is text."""


class _CoreLoader(yaml.SafeLoader):
    """Resolves scalars by the core schema of YAML 1.2, and bounds the depth. `_value` constructs the values.

    PyYAML itself reads YAML 1.1, in which `yes` is true, `030` is 24 and `1:30` is 90.
    """

    _depth = 0

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode and implicit[0]:
            return _TAG + next((name for name, pattern in _PLAIN.items() if pattern.fullmatch(value)), "str")
        return super().resolve(kind, value, implicit)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > _MOST_NESTED:
            raise _too_deep(self.peek_event())
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def read_yaml(path: Path) -> Any:
    """Read a YAML file of the configuration strictly: by the core schema of YAML 1.2, with merge keys (`<<`).

    Keys are text as written, quoted or not: `007` stays `007`.

    Raises:
        InductionError: the file is missing, is not YAML, or contains what readers of YAML take for different things.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InductionError(f"{path}: larger than {_MOST_BYTES // 10**6} MB, which no configuration is.")
        root = _CoreLoader(path.read_text(encoding="utf-8")).get_single_node()
        if root is None:
            return None
        _measure(root, {})
        return _value(root)
    except FileNotFoundError:
        raise InductionError(
            f"{path}: no such file. The configuration is read from the folder {path.parent}/"
        ) from None
    except OSError as error:
        raise cannot_read(path, "file of the configuration", error) from error
    except UnicodeDecodeError as error:
        raise InductionError(f"{path}: not YAML: not UTF-8 at byte {error.start}. Save it as UTF-8.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        problem = error.problem or error.context or ""
        if problem.startswith("but "):
            problem = f"{error.context}, {problem}"
        raise InductionError(f"{path}: not YAML: {problem}{where}.") from None
    except yaml.YAMLError as error:
        raise InductionError(f"{path}: not YAML: {' '.join(str(error).split())}.") from None


def _refusal(problem: str, where: yaml.Node | yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)  # type: ignore[arg-type]


def _too_deep(where: yaml.Node | yaml.Event) -> yaml.MarkedYAMLError:
    return _refusal(f"more than {_MOST_NESTED} levels of nesting", where)


def _measure(node: yaml.Node, seen: dict[yaml.Node, tuple[int, int] | None]) -> tuple[int, int]:
    """Return how many values and how many levels a node has once aliases are written out."""
    if node in seen:
        known = seen[node]
        if known is None:
            raise _refusal("an alias inside of what it repeats", node)
        return known
    seen[node] = None
    inside: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        inside = node.value
    elif isinstance(node, yaml.MappingNode):
        inside = [part for pair in node.value for part in pair]
    measured = [_measure(part, seen) for part in inside]
    n_values = 1 + sum(values for values, _ in measured)
    n_levels = 1 + max((levels for _, levels in measured), default=0)
    if n_values > _MOST_VALUES:
        raise _refusal(f"more than {_MOST_VALUES:,} values, each alias counted as all that it repeats", node)
    if n_levels > _MOST_NESTED:
        raise _too_deep(node)
    seen[node] = n_values, n_levels
    return n_values, n_levels


def _value(node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if node.tag not in (f"{_TAG}seq", f"{_TAG}map"):
        raise _refused_tag(node)
    if isinstance(node, yaml.SequenceNode):
        return [_value(part) for part in node.value]
    return _mapping(node)


def _mapping(node: yaml.Node) -> dict[str, Any]:
    """Return a mapping: its own keys, over those that `<<` merges into it."""
    own: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _refusal("a list or mapping as a key; keys are text", key)
        name, line = key.value, key.start_mark.line + 1
        if name in lines:
            hint = "write <<: [*one, *other]" if name == "<<" else "remove one of them"
            problem = f"the key {_shown(name)} stands twice, on line {lines[name]} and on line {line}; {hint}"
            raise _refusal(problem, key)
        lines[name] = line
        if name != "<<":
            own[name] = _value(value)
            continue
        parts = value.value if isinstance(value, yaml.SequenceNode) else [value]
        for part in reversed(parts):  # of a key in several, the first counts
            if not isinstance(part, yaml.MappingNode):
                raise _refusal("<< merges mappings: an alias of one, or a list of such aliases", part)
            merged = {**merged, **_mapping(part)}
    return {**merged, **own}


def _scalar(node: yaml.ScalarNode) -> Any:
    kind, text = node.tag.removeprefix(_TAG), node.value
    if kind == "str":
        return text
    if kind not in _PLAIN:
        raise _refused_tag(node)
    if not _PLAIN[kind].fullmatch(text):
        raise _refusal(f"{_shown(text)} does not have the type of its tag, !!{kind}", node)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if len(text) > _MOST_DIGITS:
        raise _refusal(f"a number of {len(text):,} characters; permitted: {_MOST_DIGITS}", node)
    if kind == "float":
        return float(re.sub(r"\.(?=[iInN])", "", text))
    if re.fullmatch(r"[-+]?0[0-9]+", text):
        problem = f"{text} is a different number in YAML 1.1 and 1.2; write the number without its leading zeros, or"
        raise _refusal(f'{problem} "{text}" in quotes for text', node)
    return int(text, 0)


def _refused_tag(node: yaml.Node) -> yaml.MarkedYAMLError:
    return _refusal(f"the tag {node.tag.replace(_TAG, '!!')} is not permitted here; remove it", node)


def validate(content: Any, model: type[ModelT], where: str) -> ModelT:
    """Return `content` as a `model`.

    Raises:
        InductionError: naming `where`, the key's path, the value and what is permitted, one line a mistake.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InductionError("\n".join(_told(entry, model, where) for entry in error.errors())) from None


_NEEDED = {
    "int_type": "a whole number is needed",
    "float_type": "a number is needed",
    "bool_type": "true or false is needed",
    "string_type": "text is needed",
    "tuple_type": "a list is needed",
    "dict_type": "a mapping (key: value) is needed",
    "model_type": "a mapping (key: value) is needed",
    "model_attributes_type": "a mapping (key: value) is needed",
}
_PATTERNS = {
    NAME_PATTERN: "permitted: letters, digits and . _ - inside",
    PACKAGE_PATTERN: "permitted: the name of a Python distribution: letters, digits and . _ - inside",
    VERSION_PATTERN: "permitted: a version, such as 1.2.0",
    DATA_SET_PATTERN: "permitted: OWNER/NAME",
    REVISION_PATTERN: "permitted: a commit, tag or branch, without spaces and ~ ^ : ? * [ \\",
    WORD_PATTERN: "permitted: one word, without quotes",
    IMAGE_PATTERN: "permitted: a path or address of letters, digits and . _ - / : @ + = , %",
    LINE_PATTERN: "permitted: one line, without control characters",
}


def _told(entry: Any, model: type[BaseModel], where: str) -> str:
    location = entry["loc"]
    where = (
        f"{where}: {path}" if (path := ".".join(_shown(str(part)) for part in location if part != "[key]")) else where
    )
    kind, given = entry["type"], entry["input"]
    if kind == "extra_forbidden":
        owner = _model_at(model, location[:-1])
        fields = list(owner.model_fields) if owner else []
        what = "Fields that can be swept" if owner and owner.__name__ == "Sweep" else "Permitted"
        return f"{where}: unknown field. {what}: {', '.join(fields)}.{nearest(str(location[-1]), fields)}"
    if kind == "missing":
        return f"{where}: this field is required."
    message = _NEEDED.get(kind, entry["msg"].removeprefix("Value error, "))
    if kind == "string_pattern_mismatch":
        message = _PATTERNS.get(entry["ctx"]["pattern"], message)
    value = "" if kind == "value_error" else f" (is: {_shown(repr(given))})"
    hint = ""
    if kind == "literal_error":
        hint = nearest(str(given), entry["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", "))
    elif kind == "string_type" and isinstance(given, (bool, int, float)):
        hint = " Put it in quotes."
    elif kind in ("int_type", "float_type") and isinstance(given, str):
        digits = given.replace("_", "").replace(",", "")
        hint = f" Write {digits}." if digits != given and digits.isdecimal() else " Write it without quotes or letters."
    elif kind == "int_type" and isinstance(given, float) and given.is_integer() and abs(given) < 1e15:
        hint = f" Write {given:.0f}."
    return f"{where}: {message}{value}.{hint}"


def _shown(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


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
