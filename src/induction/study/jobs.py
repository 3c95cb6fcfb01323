"""What rules ask of the study: functions of a job's wildcards. Paths stay in the rules."""

import json
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from induction.errors import InductionError
from induction.files import fingerprint
from induction.study.config import FigureModels
from induction.study.contents import digest_of_source
from induction.study.corpora import CORPUS_VERSION, Source
from induction.study.digests import code_digest
from induction.study.reading import MODELS_FILE
from induction.study.stages import MADE_BESIDE, STAGES, Graph, Node
from induction.study.steps import every_nth
from induction.study.study import Model, Study

# Everything that the stage functions of each figure read besides the models it shows.
_FIGURE_SETTINGS = ("heads", "in_context")
# What the caption of each figure says how many there were of.
_FIGURE_COUNTS = {
    "phase_change": ("evaluation.n_examples",),
    "smeared_keys": ("evaluation.n_examples",),
    "ablations": ("evaluation.n_examples", "ablations.n_examples"),
    "pca": ("evaluation.n_examples",),
    "tokens": ("evaluation.n_examples",),
    "idealised": ("idealised.n_examples",),
    "case_studies": ("prompts.n_prompts",),
    "heat_maps": ("evaluation.n_examples",),
    "model_analysis": ("evaluation.n_examples", "ablations.n_examples"),
    "model_page": ("evaluation.n_examples", "ablations.n_examples"),
    "loss_by_index": ("evaluation.n_examples",),
    "order_inversion": ("evaluation.n_examples",),
    "icl_indices": ("evaluation.n_examples",),
    "window_rules": ("evaluation.n_examples",),
    "class_thresholds": ("ablations.n_examples",),
}
# What the report says of a model besides its name and family.
_REPORTED = ("n_layers", "d_model", "n_parameters", "corpus", "seed")
# Fields that figures are told of one by one.
_TOLD_APART = ("n_layers", "seed", "smeared_keys", "d_mlp")


class Jobs:
    """The study as the Snakefile sees it. Methods that take `wildcards` are handed to rules as they are."""

    def __init__(self, study: Study, results: Path = Path("results")) -> None:
        self.study = study
        self.graph = Graph(study, results)
        self._corpora: dict[str, str] = {}
        self._identities: dict[Node, str] = {}
        self._codes: dict[Node, str] = {}

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.study.name

    # --- targets ------------------------------------------------------------------------------------------------

    @property
    def figures(self) -> list[str]:
        """Names of the study's figures, in the paper's order."""
        return self.graph.figures

    @property
    def corpora(self) -> list[str]:
        """Names of the corpora of all models, in their order."""
        return self.graph.corpora

    @property
    def parts(self) -> dict[str, list[Any]]:
        """Every block of every model: two lists of the same length, to be zipped."""
        return _parts(list(self.study.models.values()))

    @property
    def last_parts(self) -> list[tuple[str, int]]:
        """The last block of every model, with its name."""
        return [(model.name, len(model.blocks) - 1) for model in self.study.models.values()]

    @property
    def models(self) -> list[str]:
        """Names of all models."""
        return list(self.study.models)

    @property
    def models_with_abstract_task(self) -> list[str]:
        """Names of the models that the abstract task is measured on: all, or none; see `OF_THE_ABSTRACT_TASK`."""
        return self.models if self.graph.has_abstract_task else []

    # --- corpora ------------------------------------------------------------------------------------------------

    def corpus_json(self, wildcards: Any) -> str:
        """Return a corpus's configuration, with versions of packages and digests of the files that it reads."""
        name = wildcards.corpus
        if name not in self._corpora:
            corpus = self.study.corpus(name)
            content = corpus.model_dump(mode="json")
            for number, source in enumerate(corpus.sources):
                try:
                    content["sources"][number] |= _identified(source)
                except InductionError as error:
                    raise InductionError(f"{MODELS_FILE}: corpora.{name}.sources.{number}: {error}") from None
            self._corpora[name] = json.dumps(content, sort_keys=True)
        return self._corpora[name]

    def identify_texts(self) -> None:
        """Find out what the corpora of all models read, so that a mistake is reported before a rule asks for it.

        Raises:
            InductionError: a file of text cannot be read.
        """
        for name in self.corpora:
            self.corpus_json(SimpleNamespace(corpus=name))

    def evaluation_json(self, _wildcards: Any) -> str:
        """Return how the evaluation set is made."""
        return self._settings("evaluation")

    def probes_json(self, _wildcards: Any) -> str:
        """Return how the probes are made; other periods have probes of their own, see `periods_json`."""
        content = json.loads(self._settings("probes"))
        content["probes"].pop("other_periods", None)
        return json.dumps(content, sort_keys=True)

    def prompts_json(self, _wildcards: Any) -> str:
        """Return how the prompts of the abstract task are made, and how long they may be."""
        content = json.loads(self._settings("prompts"))
        content["n_tokens"] = self.study.config.evaluation.n_tokens
        return json.dumps(content, sort_keys=True)

    def token_classes_json(self, _wildcards: Any) -> str:
        """Return how tokens of the evaluation set are classed."""
        return self._settings("repetitions")

    # --- a model's jobs -----------------------------------------------------------------------------------------

    def this_model(self, wildcards: Any) -> str:
        """Return the name of the job's model, where it is one of the study's."""
        return self._model(wildcards).name

    def corpus(self, wildcards: Any) -> str:
        """Return the name of the job's model's corpus."""
        return self._model(wildcards).fields.corpus

    def previous_block(self, wildcards: Any) -> list[int]:
        """Return the block that the job's block goes on from; none for the first."""
        self.study.check_block(wildcards.model, int(wildcards.block))
        return [int(wildcards.block) - 1] if int(wildcards.block) else []

    def recipe_json(self, wildcards: Any) -> str:
        """Return the recipe of the job's block."""
        return json.dumps(self._model(wildcards).recipe(int(wildcards.block)), sort_keys=True)

    def tokens_needed(self, wildcards: Any) -> int:
        """Return how many tokens the corpus must hold for the job's model.

        A resource of the job, not a parameter: more steps must not train the blocks again that are there.
        """
        return self._model(wildcards).tokens_needed

    def watch_json(self, _wildcards: Any) -> str:
        """Return how training is watched, without what is as always.

        A resource of the job, not a parameter: no other way of watching must train anything again.
        """
        parts = {"watch", "probes", "in_context"}
        content = self.study.config.model_dump(mode="json", include=parts, exclude_defaults=True)
        content.get("probes", {}).pop("other_periods", None)
        return json.dumps({name: part for name, part in content.items() if part}, sort_keys=True)

    def blocks(self, wildcards: Any) -> list[int]:
        """Return all blocks of the job's model."""
        return list(range(len(self._model(wildcards).blocks)))

    def last_block(self, wildcards: Any) -> list[int]:
        """Return the last block of the job's model."""
        return self.blocks(wildcards)[-1:]

    def ablated_json(self, wildcards: Any) -> str:
        """Return the steps of the job's block whose heads are ablated, and how."""
        model, config = self._model(wildcards), self.study.config

        chosen = every_nth(model.steps, config.ablations.every)
        steps = [step for step in model.blocks[int(wildcards.block)] if step in chosen]
        parts = json.loads(self._settings("in_context", "bootstrap"))
        parts["ablations"] = self.study.ablations_of(model).model_dump(mode="json")
        thorough = [step for step in steps if config.ablations.every_way == "all" or step == model.steps[-1]]
        return json.dumps({"steps": steps, "steps_every_way": thorough, **parts}, sort_keys=True)

    def set_ablated_json(self, wildcards: Any) -> str:
        """Return how sets of heads are made and ablated."""
        parts = json.loads(self._settings("in_context", "bootstrap", "heads"))
        parts["ablations"] = self.study.ablations_of(self._model(wildcards)).model_dump(mode="json")
        return json.dumps(parts, sort_keys=True)

    def head_probes_json(self, _wildcards: Any) -> str:
        """Return how many real examples heads are scored on."""
        return json.dumps({"n_examples": self.study.config.probes.n_examples})

    def periods_json(self, _wildcards: Any) -> str:
        """Return at which other periods heads are scored, and how long their probes may be."""
        content = json.loads(self._settings("probes"))
        content["n_tokens"] = self.study.config.evaluation.n_tokens
        return json.dumps(content, sort_keys=True)

    def idealised_json(self, _wildcards: Any) -> str:
        """Return what idealised heads depend on."""
        return self._settings("idealised", "heads", "bootstrap")

    def case_studies_json(self, _wildcards: Any) -> str:
        """Return what case studies depend on."""
        return self._settings("case_studies", "heads")

    def curves_json(self, _wildcards: Any) -> str:
        """Return what curves depend on."""
        return self._settings("in_context", "bootstrap")

    def phases_json(self, _wildcards: Any) -> str:
        """Return what phases depend on."""
        return self._settings("in_context", "bootstrap", "phases")

    def repetitions_json(self, _wildcards: Any) -> str:
        """Return what the losses of repeated tokens depend on."""
        return self._settings("bootstrap")

    def attributions_json(self, _wildcards: Any) -> str:
        """Return what attributions depend on."""
        return self._settings("bootstrap")

    def window_rules_json(self, _wildcards: Any) -> str:
        """Return the rules of windows, and the other values that are tried."""
        return self._settings("phases", "window_rules")

    # --- the whole study ----------------------------------------------------------------------------------------

    def pca_json(self, _wildcards: Any) -> str:
        """Return which models share components, of which corpus each group is, and how turns are measured."""
        models = self.study.models.values()
        content = json.loads(self._settings("bootstrap", "phases"))
        content["groups"] = {model.name: model.group for model in models}
        content["corpora"] = {model.group: model.fields.corpus for model in models}
        return json.dumps(content, sort_keys=True)

    def claims_json(self, _wildcards: Any) -> str:
        """Return what claims depend on besides tables."""
        content = json.loads(self._settings("heads", "in_context", "phases", "bootstrap", "claims"))
        return json.dumps({"settings": content, "models": self.study.told_models()}, sort_keys=True)

    # --- figures ------------------------------------------------------------------------------------------------

    def figure_models(self, wildcards: Any) -> list[str]:
        """Return the models that the job's figure shows."""
        return [model.name for model in self._shown(wildcards.figure)]

    def figure_block_models(self, wildcards: Any) -> list[str]:
        """Return the model of every block that the job's figure shows, to be zipped with `figure_blocks`."""
        return _parts(self._shown(wildcards.figure))["model"]

    def figure_blocks(self, wildcards: Any) -> list[int]:
        """Return every block that the job's figure shows, to be zipped with `figure_block_models`."""
        return _parts(self._shown(wildcards.figure))["block"]

    def figure_models_json(self, wildcards: Any) -> str:
        """Return what a figure says of the models it shows."""
        return json.dumps([self._told(model) for model in self._shown(wildcards.figure)], sort_keys=True)

    def figure_json(self, wildcards: Any) -> str:
        """Return what the job's figure depends on besides tables."""
        return self._figure_settings(wildcards.figure)

    def page_json(self, _wildcards: Any) -> str:
        """Return what the pages of models depend on besides tables.

        Their axis of time is that of the figure of all models, or else of the first figure of the study.
        """
        drawn = self.figures
        return self._figure_settings("model_analysis" if "model_analysis" in drawn else drawn[0])

    def page_models_json(self, wildcards: Any) -> str:
        """Return what its page says of the job's model."""
        return json.dumps([self._told(self._model(wildcards))], sort_keys=True)

    def _figure_settings(self, figure: str) -> str:
        content = json.loads(self._settings(*_FIGURE_SETTINGS))
        shown: dict[Any, FigureModels] = dict(self.study.config.figures)
        if figure in shown:
            content["time"] = shown[figure].time
        return json.dumps(content, sort_keys=True)

    def _told(self, model: Model) -> dict[str, Any]:
        """Return what figures are told of a model."""
        return {
            "name": model.name,
            "family": model.family,
            "label": model.label,
            "n_layers": model.fields.n_layers,
            "seed": model.fields.seed,
            "smeared_keys": model.fields.smeared_keys,
            "d_mlp": model.fields.d_mlp,
            "corpus": model.fields.corpus,
            "n_parameters": model.fields.n_parameters,
            "swept": ", ".join(
                f"{name} {getattr(model.fields, name)}"
                for name in self.study.swept_fields(model.family)
                if name not in _TOLD_APART and len(self.study.values_of(model.family, name)) > 1
            ),
        }

    def figure_counts(self, wildcards: Any) -> dict[str, int]:
        """Return the numbers that the caption of the job's figure names, by their places in the configuration."""
        return self._counts(wildcards.figure)

    def page_counts(self, _wildcards: Any) -> dict[str, int]:
        """Return the numbers that the caption of a model's page names."""
        return self._counts("model_page")

    def _counts(self, figure: str) -> dict[str, int]:
        counts = {}
        for place in _FIGURE_COUNTS.get(figure, ()):
            part, field = place.split(".")
            counts[place] = getattr(getattr(self.study.config, part), field)
        return counts

    # --- the report ---------------------------------------------------------------------------------------------

    def report_json(self, _wildcards: Any) -> str:
        """Return what the report says besides figures and tables: the study, its models, its whole configuration."""
        study = self.study
        content = {
            "study": study.name,
            "description": study.config.description,
            "counts": {figure: self._counts(figure) for figure in (*self.figures, "model_page")},
            "models": [
                {
                    **{name: getattr(model, name) for name in ("name", "family", "label")},
                    **{name: getattr(model.fields, name) for name in _REPORTED},
                    "tokens": model.tokens_at(model.fields.n_steps),
                }
                for model in study.models.values()
            ],
            "heads": study.config.heads.model_dump(mode="json"),
            "configuration": study.resolved(),
        }
        return json.dumps(content, sort_keys=True)

    # --- what a result is tied to -------------------------------------------------------------------------------

    def job(self, stage: str) -> Callable[[Any], str]:
        """Return the function of wildcards that gives a rule its parameter `job`: all that its result is made from.

        Snakemake runs a job again when this text changes. The text holds what the configuration says of everything
        upstream, so no result outlives a change of what it was made from, even where the jobs between failed. The
        command writes the identity into its result, and compares it with those that its inputs carry.
        """

        def of_wildcards(wildcards: Any) -> str:
            return json.dumps(self.job_of(self._node(stage, wildcards)), sort_keys=True)

        return of_wildcards

    def job_of(self, node: Node) -> dict[str, Any]:
        """Return an artefact's identity, the digest of all code upstream, and its inputs' identities where few."""
        content: dict[str, Any] = {"identity": self.identity(node), "code": self._code(node)}
        if self.graph.stage(node).per not in ("study", "figure"):  # those commands read the study themselves
            content["inputs"] = {
                artefact: [self.identity(one) for one in nodes] for artefact, nodes in self.graph.inputs(node).items()
            }
        return content

    def input_files(self, node: Node) -> dict[str, list[Path]]:
        """Return the files that the stage of an artefact reads, by artefact."""
        return {name: [self.graph.path(one) for one in nodes] for name, nodes in self.graph.inputs(node).items()}

    def expected_inputs(self, node: Node) -> dict[Path, str]:
        """Return the identity that each file must carry which the stage of an artefact reads."""
        return {self.graph.path(one): self.identity(one) for nodes in self.graph.inputs(node).values() for one in nodes}

    def identity(self, node: Node) -> str:
        """Return 16 hexadecimal digits that stand for the settings of a stage and of all stages upstream of it.

        They change with a recipe, a corpus, an evaluation set or a threshold, but not with code: a table that was made
        by an earlier version of a stage still belongs to the study.
        """
        if node not in self._identities:
            upstream = [self.identity(one) for nodes in self.graph.inputs(node).values() for one in nodes]
            self._identities[node] = fingerprint([_made_by(node), self._settings_of(node), upstream])
        return self._identities[node]

    def _code(self, node: Node) -> str:
        """Return a digest of the code of a stage and of all stages upstream of it."""
        if node not in self._codes:
            upstream = {self._code(one) for nodes in self.graph.inputs(node).values() for one in nodes}
            module = self.graph.stage(node).module
            self._codes[node] = fingerprint([code_digest(module) if module else "", sorted(upstream)])
        return self._codes[node]

    def _settings_of(self, node: Node) -> list[Any]:
        wildcards = SimpleNamespace(corpus=node.name, model=node.name, figure=node.name, block=str(node.block))
        return [ask(self, wildcards) for ask in _SETTINGS.get(_made_by(node), ())]

    def _node(self, stage: str, wildcards: Any) -> Node:
        per = "figure" if stage == "figure" else STAGES[stage].per
        if per == "study":
            return Node(stage)
        if per in ("model", "block"):
            name = self._model(wildcards).name
            return Node(stage, name, int(wildcards.block)) if per == "block" else Node(stage, name)
        return Node(stage, getattr(wildcards, per))

    # ------------------------------------------------------------------------------------------------------------

    def _model(self, wildcards: Any) -> Model:
        return self.study.model(wildcards.model)

    def _shown(self, figure: str) -> list[Model]:
        return self.study.models_of(figure)

    def _settings(self, *parts: str) -> str:
        return self.study.settings_json(*parts)


def _made_by(node: Node) -> str:
    return MADE_BESIDE.get(node.artefact, node.artefact)


_SETTINGS: dict[str, tuple[Callable[[Jobs, Any], Any], ...]] = {
    "corpus": (Jobs.corpus_json, lambda *_: CORPUS_VERSION),
    "evaluation": (Jobs.evaluation_json,),
    "probes": (Jobs.probes_json,),
    "prompts": (Jobs.prompts_json,),
    "token_classes": (Jobs.token_classes_json,),
    "train": (Jobs.recipe_json,),
    "heads": (Jobs.head_probes_json,),
    "ablations": (Jobs.ablated_json,),
    "set_ablations": (Jobs.set_ablated_json,),
    "idealised": (Jobs.idealised_json,),
    "periods": (Jobs.periods_json,),
    "case_studies": (Jobs.case_studies_json,),
    "curves": (Jobs.curves_json,),
    "phases": (Jobs.phases_json,),
    "window_rules": (Jobs.window_rules_json,),
    "attributions": (Jobs.attributions_json,),
    "repetitions": (Jobs.repetitions_json,),
    "pca": (Jobs.pca_json,),
    "claims": (Jobs.claims_json,),
    "figure": (Jobs.figure_models_json, Jobs.figure_json, Jobs.figure_counts),
    "model_page": (Jobs.page_models_json, Jobs.page_json, Jobs.page_counts),
    "report": (Jobs.report_json,),
}
"""The settings of each stage: the functions that its rule names."""


def _identified(source: Source) -> dict[str, str | None]:
    """Return what identifies the text of a source: a version or a digest. Of a data set, its revision does."""
    if source.package:
        return {"version": source.version or _installed(source.package)}
    if not source.files or source.digest:
        return {}
    digest = digest_of_source(json.dumps([source.files, source.exclude]), source.globbed_files())
    return {"digest": digest} if digest else {}  # where there is no file, the stage says so


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None  # The corpus stage says how to install it.


def _parts(models: list[Model]) -> dict[str, list[Any]]:
    pairs = [(model.name, block) for model in models for block in range(len(model.blocks))]
    return {"model": [name for name, _ in pairs], "block": [block for _, block in pairs]}
