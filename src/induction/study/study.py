"""The resolved study: every model with its name, steps and blocks, and what each job of it depends on.

The Snakefile asks this object and nothing else, so a dry run imports neither torch nor a stage.
"""

import json
import math
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from induction.errors import InductionError, nearest
from induction.study.architecture import Architecture
from induction.study.config import (
    MOST_SNAPSHOTS,
    ConfigFile,
    Family,
    FigureModels,
    ModelFields,
    ModelsFile,
    StudyConfig,
    Sweep,
)
from induction.study.corpora import Corpus
from induction.study.evaluation import Ablations
from induction.study.reading import CONFIG_FILE, MODELS_FILE, read_yaml, validate
from induction.study.steps import blocks, snapshot_steps
from induction.study.strict import MOST_CHARACTERS, NAME_PATTERN

TRAINING_VERSION = 1
"""Raised by hand when training is changed on purpose so that its numbers change; every model is then trained anew."""


MOST_MODELS = 10_000
"""Greatest number of models of a study."""
MOST_SNAPSHOTS_IN_ALL = 1_000_000
_MOST_PARAMETERS = 2 * 10**12
_MOST_LOGITS = 2**36
_FORMAT = re.compile(r"[<>^]?0?[0-9]{0,2}(\.[0-9]{1,2})?[bdeEfgGnosxX%]?")
"""How a field may be formatted in a name: alignment, zeros, width, digits, type."""
_DIGITS = re.compile(r"[0-9._-]+([TZ][0-9._-]*)*")
_WORDS = {"true", "false", "null", "none", "na"}


@dataclass(frozen=True)
class Model:
    """One model of a study: an architecture, a recipe and a seed."""

    name: str
    family: str
    label: str
    fields: ModelFields
    vocab_size: int
    group: str = ""
    """Models of one group share principal components; all are of one corpus."""

    @property
    def architecture(self) -> Architecture:
        """The architecture, with its vocabulary."""
        return self.fields.architecture(self.vocab_size)

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """The snapshots' steps, ascending, 0 and the last included."""
        return snapshot_steps(self.fields.snapshots, self.fields.n_steps)

    @cached_property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """The snapshots' steps, in blocks."""
        return blocks(self.steps, self.fields.block_snapshots)

    def tokens_at(self, step: int) -> int:
        """Training tokens seen after `step` steps."""
        return self.fields.schedule.sequences_before(step) * self.fields.n_ctx

    @property
    def tokens_needed(self) -> int:
        """Training tokens that the corpus must hold: those read, and the one after them, over the epochs allowed."""
        return math.ceil(self.tokens_at(self.fields.n_steps) / self.fields.epochs) + 1

    def recipe(self, block: int) -> dict[str, Any]:
        """Return all that can affect the weights of one block; more steps leave the recipes of earlier blocks alone."""
        # What is not set is left out: a field that is added later, unset, trains nothing again.
        unseen = {"n_steps", "snapshots", "block_snapshots", "ablated_examples"}
        settings = self.fields.model_dump(mode="json", exclude=unseen, exclude_none=True)
        for name in (*Architecture.model_fields, "epochs"):
            settings.pop(name, None)
        return {
            "training_version": TRAINING_VERSION,
            "architecture": self.architecture.model_dump(mode="json"),
            "settings": settings,
            "start": self.blocks[block - 1][-1] if block else 0,
            "steps": list(self.blocks[block]),
        }


class Study:
    """All models of one study and what their jobs need to know; made by `load_study`."""

    def __init__(self, name: str, config: StudyConfig, models_file: ModelsFile) -> None:
        self.name = name
        self.config = config
        self.corpora: dict[str, Corpus] = models_file.corpora
        self.families: dict[str, Family] = {
            family: _swept_anew(models_file.families[family], config.sweeps.get(family)) for family in config.families
        }
        self._check_periods()
        self.models: dict[str, Model] = {}
        n_snapshots = 0
        folded: dict[str, str] = {}
        for family_name, family in self.families.items():
            for model in self._members(family_name, family):
                if model.name in self.models:
                    raise InductionError(
                        f"{MODELS_FILE}: families.{family_name}.name: two models are called {model.name}. "
                        f"Put every swept field into the name: {', '.join(_swept_fields(family)) or 'none is swept'}"
                    )
                if (other := folded.setdefault(model.name.lower(), model.name)) != model.name:
                    raise InductionError(
                        f"{MODELS_FILE}: families.{family_name}.name: {model.name} and {other} differ in the case of "
                        "letters alone, and some file systems keep both in one folder. Change one of the names."
                    )
                self.models[model.name] = model
                n_snapshots += len(model.steps)
                if n_snapshots > MOST_SNAPSHOTS_IN_ALL:
                    raise InductionError(
                        f"{MODELS_FILE}: families.{family_name}: {n_snapshots:,} snapshots of {len(self.models)} "
                        f"models; a study has at most {MOST_SNAPSHOTS_IN_ALL:,}. Keep fewer, or leave models out."
                    )

    def _members(self, family_name: str, family: Family) -> Iterator[Model]:
        where = f"families.{family_name}"
        swept = family.sweep.model_dump(exclude_none=True)
        n_models = math.prod(map(len, swept.values())) * max(1, len(family.sizes))
        if n_models + len(self.models) > MOST_MODELS:
            raise InductionError(
                f"{MODELS_FILE}: {where}.sweep: {n_models:,} models; a study has at most {MOST_MODELS:,}. Sweep fewer "
                "fields or values."
            )
        base = family.base.model_dump(exclude_unset=True)
        sizes = [size.model_dump(exclude_unset=True) for size in family.sizes] or [{}]
        for size, values in product(sizes, product(*swept.values())):
            chosen = {**size, **dict(zip(swept, values, strict=True))}
            fields = validate({**base, **chosen}, ModelFields, f"{MODELS_FILE}: {where} with {_spelled(chosen)}")
            if fields.corpus not in self.corpora:
                raise InductionError(
                    f"{MODELS_FILE}: {where}.base.corpus: no corpus is called {fields.corpus}. "
                    f"Permitted: {', '.join(self.corpora)}.{nearest(fields.corpus, self.corpora)}"
                )
            self._check_context(where, fields)
            template = {"family": family_name, "label": family.label, **fields.model_dump()}
            name = _filled_in(f"{where}.name", family.name, template)
            vocab_size = self.corpora[fields.corpus].vocab_size
            _check_size(where, fields, vocab_size)
            group = f"{fields.corpus}, {family.group}" if family.group else fields.corpus
            yield Model(name, family_name, family.label, fields, vocab_size, group)

    def _check_context(self, where: str, fields: ModelFields) -> None:
        probes = self.config.probes
        asked = {
            "evaluation.n_tokens": self.config.evaluation.n_tokens,
            "probes.period x probes.n_repeats + 1": probes.period * probes.n_repeats + 1,
        }
        for name, n_tokens in asked.items():
            if n_tokens > fields.n_ctx:
                raise InductionError(
                    f"{MODELS_FILE}: {where}: n_ctx {fields.n_ctx} is shorter than the {n_tokens} tokens of "
                    f"{name} ({CONFIG_FILE}: studies.{self.name})"
                )

    def _check_periods(self) -> None:
        n_tokens = self.config.evaluation.n_tokens
        for period in self.config.probes.other_periods:
            if 2 * period + 1 > n_tokens:
                raise InductionError(
                    f"{CONFIG_FILE}: studies.{self.name}.probes.other_periods: {period} random tokens shown twice "
                    f"after a start token are {2 * period + 1} tokens, and evaluation.n_tokens is {n_tokens}. "
                    f"Permitted: at most {(n_tokens - 1) // 2}"
                )

    # --- what rules ask -----------------------------------------------------------------------------------------

    def model(self, name: str) -> Model:
        """Return a model by name.

        Raises:
            InductionError: the study has no such model.
        """
        if name not in self.models:
            raise InductionError(
                f"no model of study {self.name} is called {name}. Permitted: {', '.join(self.models)}."
                f"{nearest(name, self.models)}"
            )
        return self.models[name]

    def swept_fields(self, family: str) -> list[str]:
        """Return the names of the fields that a family sweeps."""
        return _swept_fields(self.families[family])

    def values_of(self, family: str, field: str) -> list[Any]:
        """Return the values that a family sweeps over in a field."""
        return list(getattr(self.families[family].sweep, field))

    def resolved(self) -> dict[str, Any]:
        """Return the whole configuration with all defaults, as JSON values: the study, its families and corpora."""
        usual = ModelFields().model_dump(mode="json")
        used = dict.fromkeys(model.fields.corpus for model in self.models.values())
        return {
            "study": self.config.model_dump(mode="json"),
            "families": {
                name: {
                    **family.model_dump(mode="json", include={"label", "name", "group"}),
                    "base": {
                        field: value
                        for field, value in {**usual, **family.base.model_dump(mode="json", exclude_unset=True)}.items()
                        if field not in _swept_fields(family)
                    },
                    "sweep": family.sweep.model_dump(mode="json", exclude_none=True),
                    **({"sizes": sizes} if (sizes := _sizes(family)) else {}),
                }
                for name, family in self.families.items()
            },
            "corpora": {name: self.corpora[name].model_dump(mode="json") for name in used},
        }

    def told_models(self) -> list[dict[str, Any]]:
        """Return all models with all that defines them, as JSON values."""
        return [
            {
                "name": model.name,
                "family": model.family,
                "label": model.label,
                "vocab_size": model.vocab_size,
                "fields": model.fields.model_dump(mode="json"),
            }
            for model in self.models.values()
        ]

    def corpus(self, name: str) -> Corpus:
        """Return a corpus by name.

        Raises:
            InductionError: there is no such corpus.
        """
        if name not in self.corpora:
            raise InductionError(
                f"{MODELS_FILE}: corpora: no corpus is called {name}. Permitted: {', '.join(self.corpora)}."
                f"{nearest(name, self.corpora)}"
            )
        return self.corpora[name]

    def models_of(self, figure: str) -> list[Model]:
        """Return the models that a figure shows.

        Raises:
            InductionError: the study does not draw this figure.
        """
        figures: dict[Any, FigureModels] = dict(self.config.figures)
        if figure not in figures:
            raise InductionError(
                f"{CONFIG_FILE}: studies.{self.name}.figures: study {self.name} draws no figure {figure}. "
                f"Permitted: {', '.join(figures)}.{nearest(figure, figures)}"
            )
        return [model for model in self.models.values() if model.family in figures[figure].families]

    def ablations_of(self, model: Model) -> Ablations:
        """Return how a model's heads are ablated: as the study says, on fewer examples where the model says so."""
        settings = self.config.ablations
        n_examples = min(settings.n_examples, model.fields.ablated_examples or settings.n_examples)
        return settings.model_copy(update={"n_examples": n_examples})

    def check_block(self, model: str, block: int) -> None:
        """See that a model has a block.

        Raises:
            InductionError: it has not so many.
        """
        n_blocks = len(self.model(model).blocks)
        if block >= n_blocks:
            raise InductionError(f"model {model} has blocks 0 to {n_blocks - 1}, none numbered {block}")

    def settings_json(self, *parts: str) -> str:
        """Return the named parts of the study's configuration as one line of JSON."""
        content = self.config.model_dump(mode="json", include=set(parts))
        return json.dumps(content, sort_keys=True)


def load_study(folder: Path = Path(), study: str | None = None) -> Study:
    """Read and resolve a study from `config/config.yaml` and `config/models.yaml` of `folder`.

    Args:
        folder: the folder that holds config/.
        study: name of the study; default: what config.yaml says.

    Raises:
        InductionError: a mistake in the files, told by file, key, value and what is permitted.
    """
    config = validate(read_yaml(folder / CONFIG_FILE), ConfigFile, str(CONFIG_FILE))
    models_file = validate(read_yaml(folder / MODELS_FILE), ModelsFile, str(MODELS_FILE))
    name = config.study if study is None else study
    if name not in config.studies:
        raise InductionError(
            f"{CONFIG_FILE}: study: no study is called {name}. Permitted: {', '.join(config.studies)}."
            f"{nearest(name, config.studies)}"
        )
    chosen = config.studies[name]
    _check_families(f"studies.{name}.families", chosen.families, models_file.families)
    _check_families(f"studies.{name}.sweeps", tuple(chosen.sweeps), chosen.families)
    for figure, shown in chosen.figures.items():
        _check_families(f"studies.{name}.figures.{figure}.families", shown.families, chosen.families)
    return Study(name, chosen, models_file)


def _filled_in(where: str, template: str, values: dict[str, Any]) -> str:
    """Return a model's name: a template with plain names of fields in braces, filled in."""
    permitted = f"Permitted in braces: family, {', '.join(ModelFields.model_fields)}"
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise InductionError(
            f"{MODELS_FILE}: {where}: {template!r} cannot be filled in ({error}). {permitted}"
        ) from None
    for _, field, form, conversion in parts:
        if field is None:
            continue
        if not field.isidentifier() or conversion:
            raise InductionError(
                f"{MODELS_FILE}: {where}: {template!r} cannot be filled in: {{{field}}} is not the plain name of a "
                f"field. {permitted}"
            )
        if not _FORMAT.fullmatch(form or ""):
            raise InductionError(
                f"{MODELS_FILE}: {where}: {template!r} cannot be filled in: the format :{form} is not permitted. "
                "Permitted: at most a width and digits of two figures each, and a type, such as :02d, :.1f or :g."
            )
    try:
        name = template.format(**values)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise InductionError(
            f"{MODELS_FILE}: {where}: {template!r} cannot be filled in ({error}). {permitted}"
        ) from None
    if len(name) > MOST_CHARACTERS or not re.fullmatch(NAME_PATTERN.strip("^$"), name):
        shown = name if len(name) <= MOST_CHARACTERS else f"{name[:40]}…"
        raise InductionError(
            f"{MODELS_FILE}: {where}: {shown!r} cannot be the name of a folder. Permitted: up to {MOST_CHARACTERS} "
            "letters, digits and . _ - inside."
        )
    if reads_as_value(name):
        raise InductionError(
            f"{MODELS_FILE}: {where}: {name!r} reads as a number, a date, a truth value or a missing value. Programs "
            "that read the tables take names from the folders model=…, and would rename or merge models. Put a word "
            f"into the name, such as m{name}."
        )
    return name


def reads_as_value(name: str) -> bool:
    """Return whether readers of partitioned tables may take a folder's name for anything but text."""
    if name.lower() in _WORDS or _DIGITS.fullmatch(name):
        return True
    for number in (float, lambda text: int(text, 0)):
        try:
            number(name)
        except ValueError:
            continue
        return True
    return False


def _check_size(where: str, fields: ModelFields, vocab_size: int) -> None:
    n_parameters = fields.n_parameters + 2 * vocab_size * fields.d_model
    if n_parameters > _MOST_PARAMETERS:
        raise InductionError(
            f"{MODELS_FILE}: {where}: {n_parameters:,} parameters fit into no memory; permitted: {_MOST_PARAMETERS:,}. "
            "Lower n_layers, d_model, n_heads, d_head or d_mlp."
        )
    n_snapshots = sum(len(rule.steps(fields.n_steps)) for rule in fields.snapshots)
    if n_snapshots > MOST_SNAPSHOTS:
        raise InductionError(
            f"{MODELS_FILE}: {where}: {n_snapshots:,} snapshots; permitted: {MOST_SNAPSHOTS:,}. Raise every in "
            "the rules of snapshots, or lower n_steps."
        )
    if fields.n_ctx * vocab_size > _MOST_LOGITS:
        raise InductionError(
            f"{MODELS_FILE}: {where}: the logits of one sequence, n_ctx {fields.n_ctx} x vocab_size {vocab_size}, fit "
            f"into no memory; permitted: {_MOST_LOGITS:,}. Lower n_ctx, or vocab_size of the corpus {fields.corpus}."
        )


def _check_families(where: str, asked: tuple[str, ...], permitted: Any) -> None:
    for family in asked:
        if family not in permitted:
            raise InductionError(
                f"{CONFIG_FILE}: {where}: no family is called {family}. Permitted: {', '.join(permitted)}."
                f"{nearest(family, permitted)}"
            )


def _swept_anew(family: Family, sweep: Sweep | None) -> Family:
    """Return a family with what a study says of its sweep in place of its own."""
    if sweep is None:
        return family
    return family.model_copy(update={"sweep": family.sweep.model_copy(update=sweep.model_dump(exclude_none=True))})


def _sizes(family: Family) -> list[dict[str, Any]]:
    return [size.model_dump(mode="json", exclude_unset=True) for size in family.sizes]


def _swept_fields(family: Family) -> list[str]:
    return list(family.sweep.model_dump(exclude_none=True))


def _spelled(chosen: dict[str, Any]) -> str:
    spelled = ", ".join(f"{name}={value}" for name, value in chosen.items()) or "no sweep"
    return spelled if len(spelled) <= 200 else f"{spelled[:200]}…"
