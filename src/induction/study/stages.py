"""The graph of a study's stages: what each reads, for which model or corpus, and where it lies.

The rules of the workflow say the same with literal paths; a test compares the two. From this graph follow the
identities that tie every result to all that it was made from.
"""

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from induction.places import block_of, part_of
from induction.study.config import FigureName
from induction.study.digests import tree_of
from induction.study.study import Model, Study

Per = Literal["corpus", "block", "model", "study", "figure"]


class Read(NamedTuple):
    """An artefact that a stage reads; of one that each block has, all blocks or the last one only."""

    artefact: str
    last_block: bool = False


@dataclass(frozen=True)
class Stage:
    """A stage: how many jobs it has, the module that computes it, and what it reads."""

    per: Per
    module: str | None
    """Its code is part of what it makes; None: a version that is raised by hand stands for the code."""
    reads: tuple[Read, ...]


class Node(NamedTuple):
    """One artefact of a study: of a corpus, of a block, of a model, or of the whole study (name and block empty)."""

    artefact: str
    name: str = ""
    block: int = -1


def _reads(*names: str) -> tuple[Read, ...]:
    """Return what a stage reads; `heads:last` stands for the last block of `heads`."""
    return tuple(Read(name.removesuffix(":last"), name.endswith(":last")) for name in names)


_LAST = ("train:last", "evaluation", "heads:last")

STAGES: dict[str, Stage] = {
    "corpus": Stage("corpus", None, ()),
    "evaluation": Stage("corpus", "induction.corpus.evaluation", _reads("corpus")),
    "probes": Stage("corpus", "induction.corpus.probes", _reads("corpus")),
    "prompts": Stage("corpus", "induction.corpus.prompts", _reads("corpus")),
    "token_classes": Stage("corpus", "induction.corpus.token_classes", _reads("corpus", "evaluation")),
    "train": Stage("block", None, _reads("corpus", "train")),
    "losses": Stage("block", "induction.measure.losses", _reads("train", "evaluation")),
    "heads": Stage("block", "induction.measure.heads", _reads("train", "probes", "evaluation")),
    "ablations": Stage("block", "induction.measure.ablations", _reads("train", "evaluation")),
    "set_ablations": Stage("model", "induction.measure.set_ablations", _reads(*_LAST)),
    "idealised": Stage("model", "induction.measure.idealised", _reads(*_LAST)),
    "compositions": Stage("model", "induction.measure.compositions", _reads("train:last")),
    "periods": Stage("model", "induction.measure.periods", _reads("train:last", "probes", "corpus")),
    "pattern_tasks": Stage("model", "induction.measure.pattern_tasks", _reads("train:last", "prompts")),
    "case_studies": Stage("model", "induction.measure.case_studies", _reads(*_LAST, "token_classes")),
    "curves": Stage("model", "induction.analyse.curves", _reads("losses", "heads", "evaluation")),
    "phases": Stage("model", "induction.analyse.phases", _reads("losses", "heads", "evaluation")),
    "window_rules": Stage("model", "induction.analyse.window_rules", _reads("curves", "replicates")),
    "attributions": Stage(
        "model", "induction.analyse.attributions", _reads("ablations", "losses", "phases", "evaluation")
    ),
    "repetitions": Stage("model", "induction.analyse.repetitions", _reads("losses", "phases", "token_classes")),
    "passages": Stage("model", "induction.analyse.passages", _reads("losses", "phases", "evaluation", "token_classes")),
    "pca": Stage("study", "induction.analyse.pca", _reads("losses", "evaluation")),
    "claims": Stage(
        "study",
        "induction.analyse.claims.stage",
        _reads(
            *("curves", "replicates", "phases", "onsets", "attributions", "idealised", "pattern_tasks", "repetitions"),
            *("heads:last", "ablations:last", "pca"),
        ),
    ),
    "model_page": Stage(
        "model",
        "induction.figures.model_page",
        _reads("curves", "phases", "attributions", "heads", "ablations", "pca"),
    ),
    "report": Stage(
        "study",
        "induction.report.stage",
        _reads(
            *("figure", "model_page", "claims", "orders", "case_studies", "curves", "phases", "heads:last", "pca"),
            "corpus",
        ),
    ),
}
"""Every stage by name, but for figures: each of those says in its own module what it reads (`NEEDS`)."""

MADE_BESIDE = {"replicates": "curves", "onsets": "phases", "orders": "claims"}
"""Artefacts that a stage writes beside the one that has its name."""

OF_THE_ABSTRACT_TASK = frozenset({"prompts", "pattern_tasks", "case_studies"})
"""Made only in a study that draws the figure case_studies: not every vocabulary can write the prompts."""


def figure_stage(name: str) -> Stage:
    """Return the stage that draws a figure."""
    module = f"induction.figures.{name}"
    return Stage("figure", module, _reads(*_needs(module)))


class Graph:
    """The stages of one study, with its models, corpora and figures filled in."""

    def __init__(self, study: Study, results: Path = Path("results")) -> None:
        self._study, self._results = study, results
        self.corpora = list(dict.fromkeys(model.fields.corpus for model in study.models.values()))
        """Names of the corpora of all models, in their order."""
        self.figures = [name for name in get_args(FigureName) if name in study.config.figures]
        """Names of the study's figures, in the paper's order."""

    @property
    def has_abstract_task(self) -> bool:
        """Whether the study measures the abstract task; see `OF_THE_ABSTRACT_TASK`."""
        return "case_studies" in self.figures

    def stage(self, node: Node) -> Stage:
        """Return the stage that makes an artefact."""
        if node.artefact == "figure":
            return figure_stage(node.name)
        return STAGES[MADE_BESIDE.get(node.artefact, node.artefact)]

    def inputs(self, node: Node) -> dict[str, list[Node]]:
        """Return what the stage of an artefact reads, by artefact, in the order of models and blocks."""
        stage = self.stage(node)
        found = {read.artefact: self._found(read, node, stage) for read in stage.reads if self._is_made(read.artefact)}
        return {artefact: nodes for artefact, nodes in found.items() if nodes}

    def path(self, node: Node) -> Path:
        """Return the file of an artefact: of figures, the SVG."""
        artefact, name, block = node
        if artefact == "corpus":
            return self._results / "corpora" / name / "manifest.json"
        if artefact == "train":
            return self._results / "models" / name / f"block-{block}.json"
        if artefact == "figure":
            return self._results / "figures" / f"{name}.svg"
        if artefact == "report":
            return self._results / "report.html"
        if artefact == "model_page":
            return self._results / "figures/models" / f"{name}.svg"
        tables, per = self._results / "tables", self.stage(node).per
        if per == "corpus":
            return self._results / "corpora" / name / f"{artefact}.safetensors"
        if per == "block":
            return block_of(tables, artefact, name, block)
        return part_of(tables, artefact, name) if per == "model" else tables / f"{artefact}.parquet"

    def _is_made(self, artefact: str) -> bool:
        return artefact not in OF_THE_ABSTRACT_TASK or self.has_abstract_task

    def _found(self, read: Read, node: Node, stage: Stage) -> list[Node]:
        artefact = read.artefact
        if artefact == "figure":
            return [Node("figure", name) for name in self.figures]
        per = self.stage(Node(artefact)).per
        if per == "study":
            return [Node(artefact)]
        if stage.per == "corpus":
            return [Node(artefact, node.name)]
        if artefact == "train" and node.artefact == "train":
            return [Node("train", node.name, node.block - 1)] if node.block else []
        models = self._models(node, stage)
        if per == "corpus":
            used = {model.fields.corpus for model in models}
            return [Node(artefact, corpus) for corpus in self.corpora if corpus in used]
        if per == "model":
            return [Node(artefact, model.name) for model in models]
        if stage.per == "block":
            return [Node(artefact, node.name, node.block)]
        return [
            Node(artefact, model.name, block)
            for model in models
            for block in range(len(model.blocks))[-1 if read.last_block else 0 :]
        ]

    def _models(self, node: Node, stage: Stage) -> list[Model]:
        if stage.per == "figure":
            return self._study.models_of(node.name)
        return list(self._study.models.values()) if stage.per == "study" else [self._study.model(node.name)]


def _needs(module: str) -> tuple[str, ...]:
    """Return the constant NEEDS of a figure's module, which is not imported: figures import the plotting libraries."""
    for statement in tree_of(module).body:
        if isinstance(statement, ast.Assign) and [getattr(one, "id", "") for one in statement.targets] == ["NEEDS"]:
            return tuple(ast.literal_eval(statement.value))
    raise ValueError(f"{module}: no constant NEEDS")
