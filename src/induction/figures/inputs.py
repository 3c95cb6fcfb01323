"""What figures are drawn from: tables by name, the models to show, thresholds and indices of the study."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import polars as pl

from induction.errors import InductionError
from induction.study.analysis import Heads
from induction.study.evaluation import InContext
from induction.study.reading import validate
from induction.study.strict import Strict
from induction.tables.classes import head_classes
from induction.tables.schemas import TABLES
from induction.tables.table import model_of, table_of

NOT_MEASURED = "not measured yet"
_ORDER = ("tokens", "passage", "index", "layer", "head")


class Model(Strict):
    """What figures need to know of a model."""

    name: str
    family: str
    label: str
    n_layers: int
    seed: int
    smeared_keys: bool
    d_mlp: int
    corpus: str = ""
    n_parameters: int = 0
    """Weights of the blocks' matrices, embeddings not counted."""
    swept: str = ""
    """The other fields that its family sweeps, with this model's values, in words."""


class _Models(Strict):
    models: tuple[Model, ...]


class Settings(Strict):
    """The parts of a study's configuration that figures read."""

    heads: Heads
    in_context: InContext
    time: Literal["linear", "log"] = "linear"
    """The axis of training tokens."""


def depth_in_words(n_layers: int) -> str:
    """Return a number of layers in words."""
    return f"{n_layers} layer{'s' if n_layers > 1 else ''}"


@dataclass(frozen=True)
class Architecture:
    """Models that differ in nothing but their seed: a column of a figure."""

    variant: str
    """What sets it apart, besides its depth, from the other architectures of the study."""
    family: str
    n_layers: int
    models: tuple[Model, ...]

    @property
    def depth(self) -> str:
        """The number of layers, in words."""
        return depth_in_words(self.n_layers)


class Head(NamedTuple):
    """A head's rows of a table, by time."""

    layer: int
    head: int
    kind: str
    rows: pl.DataFrame

    @property
    def label(self) -> str:
        """The head's place."""
        return f"layer {self.layer} head {self.head}"


@dataclass(frozen=True)
class FigureInputs:
    """Tables, models and settings; made by `read_inputs`."""

    models: tuple[Model, ...]
    tables: dict[str, pl.DataFrame]
    settings: Settings
    parts: frozenset[tuple[str, str]] = frozenset()
    """Table and model of every part that was read, parts without rows included."""

    @cached_property
    def architectures(self) -> tuple[Architecture, ...]:
        """Architectures, in the models' order."""
        groups: dict[Model, list[Model]] = {}
        for model in self.models:
            groups.setdefault(model.model_copy(update={"name": "", "seed": 0}), []).append(model)
        found: list[Architecture] = []
        for models in groups.values():
            first = models[0]
            if len({model.seed for model in models}) == len(models):
                found.append(Architecture(self._variant(first), first.family, first.n_layers, tuple(models)))
            else:  # They differ in something that figures are not told: each stands for itself.
                found.extend(Architecture(model.name, model.family, model.n_layers, (model,)) for model in models)
        return tuple(found)

    def _variant(self, model: Model) -> str:
        family = [other for other in self.models if other.family == model.family]
        words = [model.label]
        if len({other.smeared_keys for other in family}) > 1:
            words.append("smeared keys" if model.smeared_keys else "plain keys")
        if len({other.d_mlp for other in family}) > 1:
            words.append(f"d_mlp {model.d_mlp}")
        if model.swept:
            words.append(model.swept)
        return ", ".join(words)

    def title(self, architecture: Architecture) -> str:
        """Return a column's title: its depth and, where columns differ in more, its variant above."""
        several = len({other.variant for other in self.architectures}) > 1
        return f"{architecture.variant}\n{architecture.depth}" if several else architecture.depth

    def rows(self, table: str, model: Model) -> pl.DataFrame:
        """Return a model's rows of a table, by time."""
        frame = self.tables[table].filter(pl.col("model") == model.name)
        return frame.sort([name for name in _ORDER if name in frame.columns])

    def measured(self, table: str, architecture: Architecture) -> list[pl.DataFrame]:
        """Return the rows of each of an architecture's models that has any."""
        frames = (self.rows(table, model) for model in architecture.models)
        return [frame for frame in frames if len(frame)]

    def windows(self, architecture: Architecture) -> list[dict[str, Any]]:
        """Return the rows of table `phases` that tell the models' windows; only those found."""
        found = (self.rows("phases", model).filter(found=True, signal="icl") for model in architecture.models)
        return [row for frame in found for row in frame.to_dicts()]

    def deepest_models(self, table: str) -> list[Model]:
        """Return of each variant the deepest model with rows of a table; those with a window come first.

        Of equals, such as seeds, it is the first. The variants keep their order.
        """
        best: dict[str, tuple[tuple[bool, int], Model]] = {}
        for architecture in self.architectures:
            for model in architecture.models:
                rank = (self.has_window(model), architecture.n_layers)
                known = best.get(architecture.variant)
                if len(self.rows(table, model)) and (known is None or rank > known[0]):
                    best[architecture.variant] = (rank, model)
        return [model for _, model in best.values()]

    def has_window(self, model: Model) -> bool:
        """Return whether table `phases` tells a window of a model."""
        return len(self.rows("phases", model).filter(found=True, signal="icl")) > 0

    @cached_property
    def classes(self) -> pl.DataFrame:
        """The class of every head; see `head_classes`."""
        return head_classes(self.tables["heads"], self.settings.heads)

    def missing(self, table: str, architecture: Architecture, none: str) -> str:
        """Return why an architecture has no rows of a table: it is not measured yet, or else `none`."""
        measured = any((table, model.name) in self.parts for model in architecture.models)
        snapshots = "heads" not in self.tables or self.measured("heads", architecture)
        behind = self.measured(table, architecture) and self.last_rows(table, architecture).is_empty()
        return none if measured and snapshots and not behind else NOT_MEASURED

    def last_rows(self, table: str, architecture: Architecture) -> pl.DataFrame:
        """Return an architecture's rows of a table at its models' last snapshots.

        A model whose table `heads` reaches further is still being measured: it has no such rows yet.

        Raises:
            InductionError: table `heads`, by which heads are classed, ends before the table.
        """
        rows = self.tables[table].filter(pl.col("model").is_in([model.name for model in architecture.models]))
        rows = rows.filter(pl.col("step") == pl.col("step").max().over("model"))
        if "heads" in self.tables:
            ends = self.tables["heads"].group_by("model").agg(pl.col("step").max().alias("end"))
            both = rows.join(ends, on="model", how="left")
            for row in both.filter(pl.col("end").is_null() | (pl.col("step") > pl.col("end"))).head(1).to_dicts():
                of_heads = "without rows" if row["end"] is None else f"of step {row['end']}"
                raise InductionError(
                    f"table {table} of model {row['model']}: its last snapshot is of step {row['step']}, that of table "
                    f"heads is {of_heads}. Both are needed of the same snapshot: make them again with snakemake"
                )
            rows = both.filter(pl.col("step") == pl.col("end")).drop("end")
        return rows

    def last_heads(self, table: str, architecture: Architecture) -> pl.DataFrame:
        """Return the rows of `last_rows`, of a table of heads, with each head's class."""
        joined = self.last_rows(table, architecture).join(self.classes, on=["model", "layer", "head"])
        return joined.sort([name for name in ("model", "layer", "head", "query", "key") if name in joined.columns])

    def heads(self, table: str, model: Model, **only: str) -> Iterator[Head]:
        """Yield each head of a model with its rows of a table: those where each column of `only` has that value."""
        rows = self.rows(table, model).filter(**only)
        joined = rows.join(self.classes, on=["model", "layer", "head"], maintain_order="left")
        parts = joined.partition_by("layer", "head", "class", as_dict=True, maintain_order=True)
        for (layer, head, kind), part in sorted(parts.items()):
            yield Head(layer, head, kind, part)


def read_inputs(
    figure: str,
    needs: Sequence[str],
    tables: Sequence[Path],
    models_json: str,
    settings_json: str,
    arrays: Sequence[str] = (),
) -> FigureInputs:
    """Read the tables that a figure needs, all columns but the arrays.

    Args:
        figure: name of the figure, for messages.
        needs: names of tables.
        tables: parts, `…/TABLE/model=NAME/….parquet`, or whole tables, `…/TABLE.parquet`; of others none is read.
        models_json: a list of objects with the fields of `Model`.
        settings_json: an object with the fields of `Settings`.
        arrays: tables that are read with their arrays.

    Raises:
        InductionError: no part of a needed table is given, a part cannot be read, or the JSON is not as it should be.
    """
    told = validate({"models": _parse(models_json, "models")}, _Models, f"models of figure {figure}").models
    models = tuple(model.model_copy(update={"label": model.label.replace("$", r"\$")}) for model in told)
    settings = validate(_parse(settings_json, "settings"), Settings, f"settings of figure {figure}")
    if not models:
        raise InductionError(f"figure {figure}: no models to show. Name families that have models: figures.{figure}")
    parts: dict[str, list[Path]] = {}
    for path in tables:
        parts.setdefault(table_of(path), []).append(path)
    missing = [name for name in needs if name not in parts]
    if missing:
        raise InductionError(
            f"figure {figure}: needs table {', '.join(missing)}, of which no part is given. "
            f"Given: {', '.join(sorted(parts)) or 'nothing'}. Add its files, such as results/tables/{missing[0]}/…"
        )
    given = frozenset((name, model_of(path)) for name in needs if TABLES[name].partitioned for path in parts[name])
    return FigureInputs(models, {name: _read(name, parts[name], name in arrays) for name in needs}, settings, given)


def _read(table: str, paths: list[Path], with_arrays: bool) -> pl.DataFrame:
    declared = TABLES[table]
    if with_arrays:
        return declared.read(paths)
    scalars = [column.name for column in declared.columns if column.kind != "float32[]"]
    return declared.read(paths, scalars if len(scalars) < len(declared.columns) else None)


def _parse(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InductionError(f"--{what}: not JSON ({error}): {text[:80]!r}") from None
