"""The command `induction`: one subcommand a stage. A stage's modules are imported when it runs, never for `--help`."""

import argparse
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar

from induction import __version__
from induction.errors import InductionError, nearest
from induction.identity import running_as

if TYPE_CHECKING:
    from pydantic import BaseModel

    from induction.study.architecture import Architecture
    from induction.study.evaluation import InContext, Probes, Watch
    from induction.study.jobs import Jobs
    from induction.study.stages import Node

ModelT = TypeVar("ModelT", bound="BaseModel")
Arguments = argparse.Namespace
OfStudy: TypeAlias = "Callable[[Arguments, Jobs], tuple[Node, dict[str, Any]]]"


class Option(NamedTuple):
    """An argument of a subcommand."""

    name: str
    about: str
    kind: Callable[[str], Any] = str
    many: bool = False
    default: Any = None
    required: bool = True
    choices: tuple[Any, ...] = ()
    flag: bool = False
    from_study: bool = False
    """Whether --study can stand in its place."""

    @property
    def dest(self) -> str:
        """The attribute of parsed arguments that holds it."""
        return self.name.removeprefix("--").replace("-", "_")


class Stage(NamedTuple):
    """A subcommand: what it does, what goes in and out, and what it runs."""

    about: str
    detail: str
    options: tuple[Option, ...]
    run: Callable[[Arguments], None]
    of_one: Literal["model", "corpus", "study"] | None = None
    """Of stages of the workflow: what all the files that it reads must be of."""
    of_study: "OfStudy | None" = None
    """Where --study can stand for the files and settings of a stage: returns what it makes, and the options' values."""


# --- stages -----------------------------------------------------------------------------------------------------


def _corpus(args: Arguments) -> None:
    from induction.corpus.build import corpus
    from induction.study.corpora import Corpus
    from induction.study.reading import validate

    corpus(validate(args.config, Corpus, f"corpora.{args.name}"), args.name, args.out.parent)


def _evaluation(args: Arguments) -> None:
    from induction.corpus.evaluation import evaluation
    from induction.study.evaluation import Evaluation

    evaluation(args.corpus.parent, _part(args, "evaluation", Evaluation), args.out)


def _probes(args: Arguments) -> None:
    from induction.corpus.probes import probes
    from induction.study.evaluation import Probes

    probes(args.corpus.parent, _part(args, "probes", Probes), args.out)


def _token_classes(args: Arguments) -> None:
    from induction.corpus.token_classes import token_classes
    from induction.study.evaluation import Repetitions

    token_classes(args.corpus.parent, args.evaluation, _part(args, "repetitions", Repetitions), args.out)


def _prompts(args: Arguments) -> None:
    from induction.corpus.prompts import prompts
    from induction.study.evaluation import Prompts

    prompts(args.corpus.parent, _part(args, "prompts", Prompts), _number(args, "n_tokens"), args.out)


def _train(args: Arguments) -> None:
    from induction.train.stopping import stop_asked

    with stop_asked() as stop:  # before torch is imported: a signal at that time would end the process
        from induction.corpus.shards import open_corpus
        from induction.models.cpu import prepare_cpu
        from induction.train.loop import HowToTrain, train
        from induction.train.ranks import Ranks, join

        prepare_cpu()
        architecture, watched = _architecture(args), _watched(args)
        how = HowToTrain(
            args.engine, args.zero_stage, args.micro_batch, args.checkpoint_activations, args.state_minutes
        )
        ranks = join() if args.engine == "deepspeed" else Ranks()
        corpus = open_corpus(args.corpus.parent)
        settings = {
            "tokens_needed": args.tokens_needed,
            "how": how,
            "ranks": ranks,
            "stop": stop,
            "watch": _watch(watched, corpus, architecture.n_ctx),
        }
        try:
            train(args.recipe, corpus, args.out, args.table, **settings)
        except SystemExit:
            ranks.leave()
            raise
        except InductionError as error:
            if ranks.n_ranks == 1:
                raise
            # Perhaps of this rank alone: the others cannot be waited for, and without a farewell an exit can crash.
            print(f"induction: {error}", file=sys.stderr, flush=True)
            os._exit(2)
        ranks.leave()


def _architecture(args: Arguments) -> "Architecture":
    """Return the architecture of --recipe; see that the rest is whole too, for training reads it as it stands."""
    from induction.study.reading import validate
    from induction.study.recipe import Recipe

    return validate(args.recipe, Recipe, "--recipe").architecture


def _watched(args: Arguments) -> "tuple[Watch, Probes, InContext] | None":
    """Return what --watch says, checked; None where it is not given."""
    from induction.study.evaluation import InContext, Probes, Watch
    from induction.study.reading import validate

    if args.watch is None:
        return None
    permitted = ("watch", "probes", "in_context")
    for name in args.watch:
        if name not in permitted:
            raise InductionError(
                f"--watch: {name}: unknown field. Permitted: {', '.join(permitted)}.{nearest(name, permitted)}"
            )

    def part(name: str, kind: type[ModelT]) -> ModelT:
        return validate(args.watch.get(name, {}), kind, f"--watch: {name}")

    return part("watch", Watch), part("probes", Probes), part("in_context", InContext)


def _watch(watched: "tuple[Watch, Probes, InContext] | None", corpus: Any, n_ctx: int) -> Any:
    """Return what looks at a model while it trains, or None."""
    if watched is None or not watched[0].every:
        return None
    from induction.measure.live import live_probe

    return live_probe(corpus, *watched, n_ctx)


def _losses(args: Arguments) -> None:
    from induction.corpus.evaluation import read_evaluation
    from induction.measure.losses import losses

    examples = read_evaluation(args.evaluation)
    losses(args.block, examples.tokens, args.out, **_measuring(args, examples.fingerprint))


def _heads(args: Arguments) -> None:
    from induction.corpus.evaluation import read_evaluation
    from induction.corpus.probes import read_probes
    from induction.measure.heads import HeadProbes, heads

    examples, drawn = read_evaluation(args.evaluation), read_probes(args.probes)
    text = examples.tokens[: _number(args, "n_examples")]
    probes = HeadProbes(drawn.repeated, drawn.period, drawn.distinct, text)
    heads(args.block, probes, args.out, **_measuring(args, examples.fingerprint))


def _ablations(args: Arguments) -> None:
    from induction.measure.ablations import ablations

    steps, every_way = (_steps(args, name) for name in ("steps", "steps_every_way"))
    ablations(args.block, out=args.out, steps=steps, steps_every_way=every_way, **_ablating(args))


def _set_ablations(args: Arguments) -> None:
    from induction.measure.set_ablations import set_ablations
    from induction.study.analysis import Heads

    set_ablations(args.block, args.heads, _part(args, "heads", Heads), out=args.out, **_ablating(args))


def _ablating(args: Arguments) -> dict[str, Any]:
    """Return what ablations of single heads and of sets share."""
    from induction.corpus.evaluation import read_evaluation
    from induction.study.analysis import Bootstrap
    from induction.study.evaluation import Ablations, InContext

    examples = read_evaluation(args.evaluation)
    return {
        "tokens": examples.tokens,
        "random_index": examples.random_index,
        "in_context": _part(args, "in_context", InContext),
        "settings": _part(args, "ablations", Ablations),
        "bootstrap": _part(args, "bootstrap", Bootstrap),
        **_measuring(args, examples.fingerprint),
    }


def _idealised(args: Arguments) -> None:
    from induction.corpus.evaluation import read_evaluation
    from induction.measure.idealised import idealised
    from induction.study.analysis import Bootstrap, Heads
    from induction.study.evaluation import Idealised

    examples = read_evaluation(args.evaluation)
    tokens = examples.tokens[: _part(args, "idealised", Idealised).n_examples]
    thresholds, bootstrap = _part(args, "heads", Heads), _part(args, "bootstrap", Bootstrap)
    idealised(args.block, args.heads, thresholds, tokens, bootstrap, args.out, **_measuring(args, examples.fingerprint))


def _compositions(args: Arguments) -> None:
    from induction.measure.compositions import compositions

    compositions(args.block, args.out, **_measuring(args))


def _periods(args: Arguments) -> None:
    from induction.corpus.probes import read_probes, repeated_at
    from induction.measure.periods import periods
    from induction.study.evaluation import Probes

    drawn, settings = read_probes(args.probes), _part(args, "probes", Probes)
    others = repeated_at(args.corpus.parent, settings, _number(args, "n_tokens"))
    periods(args.block, {drawn.period: drawn.repeated, **others}, drawn.period, args.out, **_measuring(args))


def _pattern_tasks(args: Arguments) -> None:
    from induction.corpus.prompts import read_prompts
    from induction.measure.pattern_tasks import LinePrompts, pattern_tasks

    drawn = read_prompts(args.prompts)
    prompts = LinePrompts(drawn.tokens, drawn.colons, drawn.labels, drawn.ends, drawn.kinds)
    pattern_tasks(args.block, prompts, args.out, **_measuring(args))


def _case_studies(args: Arguments) -> None:
    from induction.corpus.token_classes import read_classed_examples
    from induction.measure.case_studies import Passage, case_studies
    from induction.study.analysis import Heads
    from induction.study.evaluation import CaseStudies

    examples, classed = read_classed_examples(args.evaluation, args.token_classes)
    n_tokens = _part(args, "case_studies", CaseStudies).n_tokens
    example, first = classed.stretch(n_tokens)
    passage = Passage(example, first, n_tokens, examples.tokens[example], classed.texts)
    provenance = _measuring(args, examples.fingerprint)
    case_studies(args.block, args.heads, _part(args, "heads", Heads), passage, args.out, **provenance)


def _measuring(args: Arguments, evaluation: str = "") -> dict[str, Any]:
    """Prepare this process; return where to compute and what the footer says of the inputs."""
    import torch

    from induction.models.cpu import prepare_cpu
    from induction.models.snapshots import read_block

    prepare_cpu()
    block = read_block(args.block)
    provenance = {"recipe": block.identity, "corpus": block.corpus}
    if evaluation:
        provenance["evaluation"] = evaluation
    return {"device": "cuda" if torch.cuda.is_available() else "cpu", "provenance": provenance}


def _curves(args: Arguments) -> None:
    from induction.analyse.curves import curves
    from induction.study.analysis import Bootstrap
    from induction.study.evaluation import InContext

    in_context, bootstrap = _part(args, "in_context", InContext), _part(args, "bootstrap", Bootstrap)
    curves(args.losses, args.heads, args.evaluation, in_context, bootstrap, args.out, args.replicates)


def _phases(args: Arguments) -> None:
    from induction.analyse.phases import phases
    from induction.study.analysis import Bootstrap, Phases
    from induction.study.evaluation import InContext

    in_context, bootstrap = _part(args, "in_context", InContext), _part(args, "bootstrap", Bootstrap)
    rules = _part(args, "phases", Phases)
    phases(args.losses, args.heads, args.evaluation, in_context, bootstrap, rules, args.out, args.onsets)


def _window_rules(args: Arguments) -> None:
    from induction.analyse.window_rules import window_rules
    from induction.study.analysis import Phases, WindowRules

    usual, others = _part(args, "phases", Phases), _part(args, "window_rules", WindowRules)
    window_rules(args.curves, args.replicates, usual, others, args.out)


def _attributions(args: Arguments) -> None:
    from induction.analyse.attributions import attributions
    from induction.study.analysis import Bootstrap

    bootstrap = _part(args, "bootstrap", Bootstrap)
    attributions(args.ablations, args.losses, args.phases, args.evaluation, bootstrap, args.out)


def _repetitions(args: Arguments) -> None:
    from induction.analyse.repetitions import repetitions
    from induction.corpus.token_classes import read_token_classes
    from induction.study.analysis import Bootstrap

    classed, bootstrap = read_token_classes(args.token_classes), _part(args, "bootstrap", Bootstrap)
    repetitions(args.losses, args.phases, classed.classes, classed.evaluation, bootstrap, args.out)


def _passages(args: Arguments) -> None:
    from induction.analyse.passages import passages
    from induction.corpus.token_classes import read_classed_examples

    examples, classed = read_classed_examples(args.evaluation, args.token_classes)
    described = (classed.classes, classed.evaluation, classed.texts, classed.passages, classed.passage_tokens)
    passages(args.losses, args.phases, examples.tokens, *described, args.out)


def _pca(args: Arguments) -> None:
    from induction.analyse.pca import pca
    from induction.study.analysis import Bootstrap, Phases

    groups, corpora = (_names(args, name) for name in ("groups", "corpora"))
    by_corpus = {path.parent.name: path for path in args.evaluation}
    if lacking := sorted({corpus for corpus in corpora.values() if corpus not in by_corpus}):
        raise InductionError(f"--evaluation: no evaluation set of corpus {', '.join(lacking)} is given")
    evaluations = {group: by_corpus[corpus] for group, corpus in corpora.items()}
    bootstrap, rules = _part(args, "bootstrap", Bootstrap), _part(args, "phases", Phases)
    pca(args.losses, evaluations, groups, bootstrap, rules, args.out)


def _claims(args: Arguments) -> None:
    from induction.analyse.claims.stage import claims

    models, settings = args.settings.get("models"), args.settings.get("settings")
    if not isinstance(models, list) or not isinstance(settings, dict):
        raise InductionError('--settings: {"models": […], "settings": …} is needed')
    claims(args.tables, models, settings, args.out, args.orders, args.people)


def _figure(args: Arguments) -> None:
    from induction.figures.stage import figure

    figure(args.name, args.tables, args.models, args.settings, args.out / (args.save_as or args.name))


def _report(args: Arguments) -> None:
    from induction.analyse.costs import costs
    from induction.report.stage import report

    counts = args.content.get("counts")
    if not isinstance(counts, dict):
        raise InductionError("--content: counts: {FIGURE: …} is needed")
    captions = {path.stem: path for path in args.captions}
    if lacking := [svg.stem for svg in args.figures if svg.stem not in captions]:
        raise InductionError(f"--captions: no caption NAME.rst is given of {', '.join(lacking)}")
    figures = [
        {
            "name": svg.stem,
            "svg": str(svg),
            "caption": str(captions[svg.stem]),
            "counts": counts.get(svg.stem, {}),
            "command": f"snakemake results/figures/{svg.stem}.pdf",
        }
        for svg in args.figures
    ]
    content = {name: value for name, value in args.content.items() if name != "counts"}
    paths = {name: [str(path) for path in getattr(args, name)] for name in ("tables", "manifests")}
    pages = [{"model": svg.stem, "svg": str(svg)} for svg in args.pages]
    judged = {"claims": str(args.claims), "orders": str(args.orders), "costs": costs(args.logs).to_dicts()}
    caption = {"path": str(args.page_caption), "counts": counts.get("model_page", {})}
    shown = {"figures": figures, "pages": pages, "page_caption": caption}
    report({**content, **paths, **judged, **shown}, args.out)


def _plan(args: Arguments) -> None:
    from induction.plan import as_json, as_text, chosen_site, plan
    from induction.study.study import load_study

    told = plan(load_study(study=args.study), chosen_site(args.site, args.gpu, args.utilisation))
    print(json.dumps(as_json(told), indent=1) if args.json else as_text(told))


def _draft(args: Arguments) -> None:
    from induction.draft import as_text, draft
    from induction.study.study import load_study

    print(as_text(draft(load_study(study=args.study), args.results, args.out, args.figures or ()), args.out))


def _status(args: Arguments) -> None:
    from induction.status import show
    from induction.study.study import load_study

    show(load_study(study=args.study), args.results, in_json=args.json, every=args.watch)


def _check(args: Arguments) -> None:
    from induction.analyse.check import READ, as_markdown, check
    from induction.artefacts.origins import check_expected, origin_of
    from induction.study.jobs import Jobs
    from induction.study.stages import Node
    from induction.study.study import load_study

    study = load_study(study=args.study)
    models = study.models_of("smeared_keys")  # controls may differ
    jobs = Jobs(study, args.tables.parent)
    nodes = [
        Node(artefact, model.name, block)
        for model in models
        for artefact in READ
        for block in (range(len(model.blocks)) if artefact in ("heads", "ablations") else [-1])
    ]
    expected = {jobs.graph.path(node): jobs.identity(node) for node in nodes}
    check_expected([origin_of(path) for path in expected if path.exists()], expected)
    requirements = check(models, args.tables, args.logs)
    print(as_markdown(requirements))
    if not all(requirement.met for requirement in requirements):
        sys.exit(1)


def _costs(args: Arguments) -> None:
    from induction.analyse.costs import as_markdown, costs

    print(as_markdown(costs(args.logs)))


def _schema(args: Arguments) -> None:
    from induction.study.schema import write_schemas

    write_schemas(args.out)


# --- stages of a whole study ------------------------------------------------------------------------------------


def _pca_of_study(_args: Arguments, jobs: "Jobs") -> "tuple[Node, dict[str, Any]]":
    from induction.study.stages import Node

    node = Node("pca")
    return node, {**jobs.input_files(node), "settings": json.loads(jobs.pca_json(None))}


def _claims_of_study(_args: Arguments, jobs: "Jobs") -> "tuple[Node, dict[str, Any]]":
    from induction.study.stages import Node

    node = Node("claims")
    return node, {"tables": _joined(jobs.input_files(node)), "settings": json.loads(jobs.claims_json(None))}


def _figure_of_study(args: Arguments, jobs: "Jobs") -> "tuple[Node, dict[str, Any]]":
    from induction.study.stages import Node

    if args.name == "model_page":
        if args.model is None:
            raise InductionError("--model: model_page needs the model whose page is drawn")
        node = Node("model_page", args.model)
        values = {"models": jobs.page_models_json(args), "settings": jobs.page_json(args), "save_as": args.model}
    else:
        node = Node("figure", args.name)
        asked = argparse.Namespace(figure=args.name)
        values = {"models": jobs.figure_models_json(asked), "settings": jobs.figure_json(asked)}
    return node, {"tables": _joined(jobs.input_files(node)), **values}


def _report_of_study(_args: Arguments, jobs: "Jobs") -> "tuple[Node, dict[str, Any]]":
    from induction.study.stages import Node

    node = Node("report")
    given = jobs.input_files(node)
    named = {
        "figures": given.pop("figure"),
        "pages": given.pop("model_page"),
        "manifests": given.pop("corpus"),
        "claims": given.pop("claims")[0],
        "orders": given.pop("orders")[0],
    }
    return node, {**named, "tables": _joined(given), "content": json.loads(jobs.report_json(None))}


def _joined(paths: dict[str, list[Path]]) -> list[Path]:
    return [path for some in paths.values() for path in some]


def _fill_in(args: Arguments, of_study: OfStudy) -> None:
    """Take from --study the files and settings of a stage, and the identities that its inputs must carry."""
    from induction.study.jobs import Jobs
    from induction.study.study import load_study

    jobs = Jobs(load_study(study=args.study))
    node, values = of_study(args, jobs)
    planned = (args.job or {}).get("identity")
    if planned is not None and planned != jobs.identity(node):
        raise InductionError("config/: changed since Snakemake planned this job. Run snakemake again.")
    for name, value in values.items():
        setattr(args, name, value)
    args.expected = jobs.expected_inputs(node)


def _refuse_what_lacks(args: Arguments, stage: Stage) -> None:
    lacking = [option.name for option in stage.options if option.from_study and not getattr(args, option.dest)]
    if lacking:
        raise InductionError(f"{', '.join(lacking)}: needed where --study is not given")


# --- what goes in -----------------------------------------------------------------------------------------------

_INPUTS = ("corpus", "block", "losses", "heads", "ablations", "curves", "replicates", "phases", "evaluation", "probes",
           "prompts", "token_classes", "tables", "claims", "orders", "manifests", "figures", "pages")  # fmt: skip
"""Options that name files which stages write."""


def _check_inputs(args: Arguments, of_one: Literal["model", "corpus", "study"]) -> None:
    """See that the files that a stage reads belong together and, where the workflow calls it, to the study."""
    from induction.artefacts.origins import check_expected, check_together, origin_of

    given = {name: _listed(getattr(args, name)) for name in _INPUTS if getattr(args, name, None)}
    expected: dict[Path, str] = getattr(args, "expected", {})
    for artefact, identities in (args.job or {}).get("inputs", {}).items():
        # Not among the options: the block before that a training goes on from, found beside the one that it makes.
        if paths := given.get("block" if artefact == "train" else artefact):
            expected |= zip(paths, identities, strict=True)
    # A missing file is left to the stage, which may have a mistake among its options to report first.
    origins = [origin_of(path) for path in dict.fromkeys(_joined(given)) if path.exists()]
    check_expected(origins, expected)
    check_together(origins, of_one)
    out = getattr(args, "out", None)
    folder = out.parent.name if out else ""
    for origin in origins:
        if origin.model and folder.startswith("model=") and folder != f"model={origin.model}":
            raise InductionError(f"{origin.path}: of model {origin.model}, but --out is {out}")


def _listed(value: Any) -> list[Path]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _part(args: Arguments, name: str, model: type[ModelT]) -> ModelT:
    """Return one part of --settings, checked."""
    from induction.study.reading import validate

    return validate(args.settings.get(name, {}), model, f"--settings: {name}")


def _number(args: Arguments, name: str) -> int:
    number = args.settings.get(name)
    if not isinstance(number, int) or number < 1:
        raise InductionError(f"--settings: {name}: a number of at least 1 is needed (is: {number!r})")
    return number


def _names(args: Arguments, name: str) -> dict[str, str]:
    names = args.settings.get(name)
    if not isinstance(names, dict) or not all(isinstance(value, str) for value in names.values()):
        raise InductionError(f"--settings: {name}: a name for each name is needed (is: {names!r})")
    return names


def _steps(args: Arguments, name: str) -> list[int]:
    steps = args.settings.get(name)
    if not isinstance(steps, list) or not all(isinstance(step, int) for step in steps):
        raise InductionError(f"--settings: {name}: a list of training steps is needed (is: {steps!r})")
    return steps


def _json(text: str) -> Any:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(content, dict):
        raise argparse.ArgumentTypeError(f"not a JSON object: {text[:80]!r}")
    return content


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"not a whole number of at least 1: {text!r}")
    return int(text)


def _duration(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"not a number above 0: {text!r}")
    return number


# --- what each takes --------------------------------------------------------------------------------------------

_BLOCK = Option("block", "manifest of a block, results/models/MODEL/block-B.json", Path)
_MANIFEST = Option("corpus", "manifest of a corpus, results/corpora/CORPUS/manifest.json", Path)
_EVALUATION = Option("--evaluation", "the evaluation set, results/corpora/CORPUS/evaluation.safetensors", Path)
_LOSSES = Option("--losses", "parts of the table losses", Path, many=True)
_HEADS = Option("--heads", "parts of the table heads", Path, many=True)
_PHASES = Option("--phases", "the model's part of the table phases", Path)
_STUDY = Option("--study", "a study of config/, which gives the files to read and the settings", required=False)
_JOB = Option(
    "--job",
    'JSON: {"identity": …, "inputs": {…}}: what the result carries, and what its inputs must carry; from the workflow',
    kind=_json,
    required=False,
)
_CLASSES = Option("--token-classes", "results/corpora/CORPUS/token_classes.safetensors", Path)


def _settings(what: str) -> Option:
    return Option("--settings", f"JSON: {what}, as in config/config.yaml", _json)


def _out(what: str) -> Option:
    return Option("--out", what, Path)


STAGES = {
    "corpus": Stage(
        "Make a corpus: tokenizer, token shards, held-out documents.",
        "In: installed packages or files of text. Out: a folder with manifest.json, written last.",
        (
            Option("name", "name of the corpus"),
            Option("--config", "JSON: the corpus, as in config/models.yaml", _json),
            _out("results/corpora/CORPUS/manifest.json; all else is written beside it"),
        ),
        _corpus,
        of_one="corpus",
    ),
    "evaluation": Stage(
        "Draw the evaluation set from a corpus's held-out documents.",
        "In: a corpus. Out: token examples and the random index of each, safetensors.",
        (_MANIFEST, _settings('{"evaluation": …}'), _out("evaluation.safetensors")),
        _evaluation,
        of_one="corpus",
    ),
    "probes": Stage(
        "Draw the random tokens that heads are scored on.",
        "In: a corpus (its vocabulary and token counts). Out: repeated and distinct tokens, safetensors.",
        (_MANIFEST, _settings('{"probes": …}'), _out("probes.safetensors")),
        _probes,
        of_one="corpus",
    ),
    "token-classes": Stage(
        "Class the tokens of the evaluation set: repetition continued, repetition broken, other; choose passages.",
        "In: a corpus, its evaluation set. Out: classes, passages and the vocabulary's texts, safetensors.",
        (_MANIFEST, _EVALUATION, _settings('{"repetitions": …}'), _out("token_classes.safetensors")),
        _token_classes,
        of_one="corpus",
    ),
    "prompts": Stage(
        "Write the prompts of the abstract task in a corpus's vocabulary.",
        "In: a corpus. Out: tokens of the prompts and the places of their lines, safetensors.",
        (_MANIFEST, _settings('{"prompts": …, "n_tokens": N}'), _out("prompts.safetensors")),
        _prompts,
        of_one="corpus",
    ),
    "train": Stage(
        "Train one block of a model, or finish it where a killed job left off.",
        "In: a corpus, a recipe and, beside --out, the state of the block before. Out: snapshots and states beside the "
        "block's manifest, a part of the table training, progress.jsonl, a line now and then, and the manifest, "
        "written last.",
        (
            _MANIFEST,
            Option("--recipe", "JSON: the block's recipe", _json),
            Option("--tokens-needed", "training tokens that the corpus must hold", int),
            _out("results/models/MODEL/block-B.json"),
            Option("--table", "part of the table training to write", Path),
            Option(
                "--engine",
                "plain: one process. deepspeed: all ranks that srun or torchrun started",
                default="plain",
                required=False,
                choices=("plain", "deepspeed"),
            ),
            Option(
                "--zero-stage",
                "of DeepSpeed: 0 shares out nothing, 3 all",
                int,
                default=0,
                required=False,
                choices=(0, 1, 2, 3),
            ),
            Option("--micro-batch", "sequences in memory at once; default: all of a step's", _positive, required=False),
            Option("--checkpoint-activations", "keep each block's input alone for the gradient", flag=True),
            Option(
                "--state-minutes",
                "minutes from one saved state to the next, besides those at snapshots; default: none besides",
                _duration,
                required=False,
            ),
            Option(
                "--watch",
                'JSON: {"watch": …, "probes": …, "in_context": …}, as in config/config.yaml; default: no watching',
                _json,
                required=False,
            ),
        ),
        _train,
        of_one="model",
    ),
    "losses": Stage(
        "Measure the loss of every token of the evaluation set, for every snapshot of a block.",
        "In: a block, the evaluation set. Out: a part of the table losses.",
        (_BLOCK, _EVALUATION, _out("results/tables/losses/model=MODEL/block-B.parquet")),
        _losses,
        of_one="model",
    ),
    "heads": Stage(
        "Score every head of every snapshot of a block: prefix matching, copying, previous token, circuits.",
        "In: a block, probes, the evaluation set. Out: a part of the table heads.",
        (
            _BLOCK,
            Option("--probes", "the probes, results/corpora/CORPUS/probes.safetensors", Path),
            _EVALUATION,
            _settings('{"n_examples": N}'),
            _out("results/tables/heads/model=MODEL/block-B.parquet"),
        ),
        _heads,
        of_one="model",
    ),
    "ablations": Stage(
        "Measure what the loss of each head does to in-context learning, patterns kept or free.",
        "In: a block, the evaluation set. Out: a part of the table ablations.",
        (
            _BLOCK,
            _EVALUATION,
            _settings('{"steps": […], "steps_every_way": […], "ablations": …, "in_context": …, "bootstrap": …}'),
            _out("results/tables/ablations/model=MODEL/block-B.parquet"),
        ),
        _ablations,
        of_one="model",
    ),
    "set-ablations": Stage(
        "Ablate all heads of each class together, and random sets of as many others.",
        "In: a model's last block, its head scores, the evaluation set. Out: the model's part of the table "
        "set_ablations.",
        (
            _BLOCK,
            _EVALUATION,
            _HEADS,
            _settings('{"ablations": …, "in_context": …, "bootstrap": …, "heads": …}'),
            _out("results/tables/set_ablations/model=MODEL/part.parquet"),
        ),
        _set_ablations,
        of_one="model",
    ),
    "idealised": Stage(
        "Replace the attention of previous-token and induction heads by the ideal one; say what of the loss is kept.",
        "In: a model's last block, its head scores, the evaluation set. Out: the model's part of the table idealised.",
        (
            _BLOCK,
            _EVALUATION,
            _HEADS,
            _settings('{"idealised": …, "heads": …, "bootstrap": …}'),
            _out("results/tables/idealised/model=MODEL/part.parquet"),
        ),
        _idealised,
        of_one="model",
    ),
    "compositions": Stage(
        "Measure the K-, Q- and V-composition of every pair of heads.",
        "In: a model's last block. Out: the model's part of the table compositions.",
        (_BLOCK, _out("results/tables/compositions/model=MODEL/part.parquet")),
        _compositions,
        of_one="model",
    ),
    "periods": Stage(
        "Measure the prefix matching of every head at several periods.",
        "In: a model's last block, the probes, the corpus, from whose vocabulary other periods are drawn. Out: the "
        "model's part of the table periods.",
        (
            _BLOCK,
            Option("--probes", "the probes, results/corpora/CORPUS/probes.safetensors", Path),
            Option("--corpus", "manifest of the model's corpus, results/corpora/CORPUS/manifest.json", Path),
            _settings('{"probes": …, "n_tokens": N}'),
            _out("results/tables/periods/model=MODEL/part.parquet"),
        ),
        _periods,
        of_one="model",
    ),
    "pattern-tasks": Stage(
        "Measure which heads look at earlier lines of the same kind, in prompts of labelled lines.",
        "In: a model's last block, prompts. Out: the model's part of the table pattern_tasks.",
        (
            _BLOCK,
            Option("--prompts", "results/corpora/CORPUS/prompts.safetensors", Path),
            _out("results/tables/pattern_tasks/model=MODEL/part.parquet"),
        ),
        _pattern_tasks,
        of_one="model",
    ),
    "case-studies": Stage(
        "Say where the best head of each class looks in a passage, and which tokens it raises.",
        "In: a model's last block, its head scores, the evaluation set and its classed tokens. Out: the model's part "
        "of the table case_studies.",
        (
            _BLOCK,
            _EVALUATION,
            _CLASSES,
            _HEADS,
            _settings('{"case_studies": …, "heads": …}'),
            _out("results/tables/case_studies/model=MODEL/part.parquet"),
        ),
        _case_studies,
        of_one="model",
    ),
    "curves": Stage(
        "Summarise a model's snapshots: loss and in-context learning with intervals, best head scores.",
        "In: a model's parts of losses and heads. Out: its parts of the tables curves and replicates.",
        (
            _LOSSES,
            _HEADS,
            _EVALUATION,
            _settings('{"in_context": …, "bootstrap": …}'),
            _out("part of the table curves"),
            Option("--replicates", "part of the table replicates to write", Path),
        ),
        _curves,
        of_one="model",
    ),
    "phases": Stage(
        "Find each signal's window of change, or say that there is none.",
        "In: a model's parts of losses and heads. Out: its parts of the tables phases and onsets.",
        (
            _LOSSES,
            _HEADS,
            _EVALUATION,
            _settings('{"in_context": …, "bootstrap": …, "phases": …}'),
            _out("part of the table phases"),
            Option("--onsets", "part of the table onsets to write", Path),
        ),
        _phases,
        of_one="model",
    ),
    "window-rules": Stage(
        "Find the window of in-context learning again under other values of the rules.",
        "In: a model's parts of curves and replicates. Out: its part of the table window_rules.",
        (
            Option("--curves", "the model's part of the table curves", Path),
            Option("--replicates", "its part of the table replicates", Path),
            _settings('{"phases": …, "window_rules": …}'),
            _out("part of the table window_rules"),
        ),
        _window_rules,
        of_one="model",
    ),
    "attributions": Stage(
        "Say how far each head's ablation undoes the change that the window made to the losses.",
        "In: a model's parts of ablations, losses and phases. Out: its part of the table attributions.",
        (
            Option("--ablations", "parts of the table ablations", Path, many=True),
            _LOSSES,
            _PHASES,
            _EVALUATION,
            _settings('{"bootstrap": …}'),
            _out("part of the table attributions"),
        ),
        _attributions,
        of_one="model",
    ),
    "repetitions": Stage(
        "Follow the losses of tokens that continue a repetition, break one, or neither.",
        "In: a model's parts of losses and phases, the classed tokens. Out: its part of the table repetitions.",
        (_LOSSES, _PHASES, _CLASSES, _settings('{"bootstrap": …}'), _out("part of the table repetitions")),
        _repetitions,
        of_one="model",
    ),
    "passages": Stage(
        "Say for each token of a few passages how much the window changed its loss.",
        "In: a model's parts of losses and phases, the evaluation set, the classed tokens. Out: its part of the table "
        "passages.",
        (_LOSSES, _PHASES, _EVALUATION, _CLASSES, _out("part of the table passages")),
        _passages,
        of_one="model",
    ),
    "pca": Stage(
        "Project the losses of all snapshots of all models on their first two shared components.",
        "In: all models' parts of losses, the evaluation set of each corpus. Out: the table pca.",
        (
            _LOSSES._replace(from_study=True),
            Option(
                "--evaluation",
                "evaluation sets, results/corpora/CORPUS/evaluation.safetensors",
                Path,
                many=True,
                from_study=True,
            ),
            _settings('{"groups": {MODEL: GROUP}, "corpora": {GROUP: CORPUS}, "bootstrap": …, "phases": …}')._replace(
                from_study=True
            ),
            _STUDY,
            _out("results/tables/pca.parquet"),
        ),
        _pca,
        of_one="study",
        of_study=_pca_of_study,
    ),
    "claims": Stage(
        "Judge every claim of the paper by its rule, and tell the order of the signals.",
        "In: parts of tables of all models. Out: the tables claims and orders, and the claims as text.",
        (
            Option("--tables", "parts of tables, results/tables/…", Path, many=True, from_study=True),
            Option("--settings", 'JSON: {"models": […], "settings": …}', _json, from_study=True),
            _STUDY,
            _out("results/tables/claims.parquet"),
            Option("--orders", "results/tables/orders.parquet", Path),
            Option("--people", "the claims as a table for people, results/claims.md", Path),
        ),
        _claims,
        of_one="study",
        of_study=_claims_of_study,
    ),
    "figure": Stage(
        "Draw a figure from tables.",
        "In: the parts of the tables that it shows. Out: NAME.pdf, NAME.svg and NAME.png in a folder.",
        (
            Option("name", "name of the figure, as in config/config.yaml; model_page: all of one model"),
            Option("--tables", "parts of tables, results/tables/…", Path, many=True, from_study=True),
            Option("--models", "JSON: what the figure says of the models it shows", from_study=True),
            Option("--settings", 'JSON: {"heads": …, "in_context": …}, as in config/config.yaml', from_study=True),
            _STUDY,
            Option("--model", "of model_page with --study: the model", required=False),
            _out("folder of the figures"),
            Option("--save-as", "name of the files; default: that of the figure", required=False),
        ),
        _figure,
        of_one="study",
        of_study=_figure_of_study,
    ),
    "report": Stage(
        "Write the report of a study: claims, figures, model pages, provenance, in one file that works offline.",
        "In: figures, captions, tables, manifests of corpora, the logs. Out: one HTML file.",
        (
            Option(
                "--content",
                "JSON: the study, its models and configuration; see induction.report.content",
                _json,
                from_study=True,
            ),
            Option("--figures", "figures to show, NAME.svg, in this order", Path, many=True, from_study=True),
            Option("--captions", "their captions, NAME.rst", Path, many=True),
            Option("--pages", "pages of models, MODEL.svg", Path, many=True, from_study=True),
            Option("--page-caption", "their caption, model_page.rst", Path),
            Option("--claims", "the table claims", Path, from_study=True),
            Option("--orders", "the table orders", Path, from_study=True),
            Option(
                "--tables",
                "parts of the tables heads, case_studies, curves, phases, pca",
                Path,
                many=True,
                from_study=True,
            ),
            Option("--manifests", "manifests of the corpora", Path, many=True, from_study=True),
            _STUDY,
            Option("--logs", "folder of the logs", Path, default=Path("results/logs"), required=False),
            _out("results/report.html"),
        ),
        _report,
        of_one="study",
        of_study=_report_of_study,
    ),
    "plan": Stage(
        "Say what a study costs before it runs: GPU-hours, nodes, wall time, disk and jobs, model by model and in all.",
        "In: config/ and a site file. Out: a table, or JSON with --json.",
        (
            Option("--study", "name of the study; default: what config/config.yaml says", required=False),
            Option("--site", "site file; default: profiles/slurm/site.yaml", Path, required=False),
            Option(
                "--gpu",
                "a GPU in place of the site's, A100-80GB, H100, H200, B200, …; without a site file: one of them alone",
                required=False,
            ),
            Option(
                "--utilisation",
                "share of the peak that training reaches; default: the site's (speed.training_utilisation)",
                float,
                required=False,
            ),
            Option("--json", "print JSON", flag=True),
        ),
        _plan,
    ),
    "draft": Stage(
        "Draw a study that is still running, from the blocks that are measured so far.",
        "In: the study's results as they are. Out: tables, figures and claims in a folder of their own.",
        (
            Option("--study", "name of the study; default: what config/config.yaml says", required=False),
            Option("--figures", "figures to draw; default: all of the study", many=True, required=False),
            Option("--results", "folder of the results", Path, default=Path("results"), required=False),
            Option("--out", "folder of the draft", Path, default=Path("results/draft"), required=False),
        ),
        _draft,
    ),
    "status": Stage(
        "Say how far a study has come: blocks done, running, failed; what training sees; what has gone wrong.",
        "In: the study's results as they are, and SLURM's queue where there is one. Out: a table, or JSON.",
        (
            Option("--study", "name of the study; default: what config/config.yaml says", required=False),
            Option("--results", "folder of the results", Path, default=Path("results"), required=False),
            Option("--json", "print JSON, with all that is known", flag=True),
            Option("--watch", "seconds from one time to the next; default: once", _duration, required=False),
        ),
        _status,
    ),
    "check": Stage(
        "Hold the results of the demo against what they must show; exit with 1 where one falls short.",
        "In: the tables of the demo. Out: a line for each requirement.",
        (
            Option("--study", "name of the study; default: what config/config.yaml says", required=False),
            Option("--tables", "folder of the tables", Path, default=Path("results/tables"), required=False),
            Option("--logs", "folder of the logs", Path, default=Path("results/logs"), required=False),
        ),
        _check,
    ),
    "costs": Stage(
        "Say what each stage cost: jobs, seconds, peak memory; of each job its last run counts.",
        "In: the benchmarks that Snakemake kept. Out: a line for each stage.",
        (Option("--logs", "folder of the logs", Path, default=Path("results/logs"), required=False),),
        _costs,
    ),
    "schema": Stage(
        "Write the JSON schemas of config/config.yaml and config/models.yaml, by which editors complete them.",
        "In: nothing. Out: config.schema.json, models.schema.json and site.schema.json.",
        (Option("--out", "folder", Path, default=Path("config/schema"), required=False),),
        _schema,
    ),
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="induction", description=__doc__.split("\n")[0] if __doc__ else None)
    top.add_argument("--version", action="version", version=f"induction {__version__}")
    subparsers = top.add_subparsers(metavar="STAGE", required=True)
    for name, stage in STAGES.items():
        sub = subparsers.add_parser(name, help=stage.about, description=f"{stage.about} {stage.detail}")
        for option in (*stage.options, *([_JOB] if stage.of_one else [])):
            if option.flag:
                sub.add_argument(option.name, help=option.about, action="store_true")
                continue
            required = option.required and not option.from_study
            extra: dict[str, Any] = {"required": required} if option.name.startswith("--") else {}
            if option.many:
                extra["nargs"] = "+"
            if option.choices:
                extra["choices"] = option.choices
            sub.add_argument(option.name, help=option.about, type=option.kind, default=option.default, **extra)
        sub.set_defaults(stage=stage)
    return top


def _run(args: Arguments) -> None:
    """Run a stage, its inputs checked; what it writes carries the identity of --job."""
    stage: Stage = args.stage
    if stage.of_one is None:
        stage.run(args)
        return
    if stage.of_study:
        if args.study is None:
            _refuse_what_lacks(args, stage)
        else:
            _fill_in(args, stage.of_study)
    _check_inputs(args, stage.of_one)
    with running_as((args.job or {}).get("identity", "")):
        stage.run(args)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a stage; tell a mistake in one line, without a traceback, and exit with 2."""
    try:
        try:
            args = parser().parse_args(arguments)
            _run(args)
        except InductionError as error:
            print(f"induction: {error}", file=sys.stderr)
            sys.exit(2)
        except OSError as error:
            if isinstance(error, BrokenPipeError) or error.errno is None:
                raise
            from induction.files import of_system

            print(f"induction: {of_system(error)}", file=sys.stderr)
            sys.exit(2)
        finally:
            print(end="", flush=True)  # here, where it can be told; not at the interpreter's end
    except BrokenPipeError:  # nobody reads on, as after `induction plan | head`
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # else Python flushes at its end, and fails again
        sys.exit(128 + signal.SIGPIPE)
