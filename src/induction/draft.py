"""A study that is still running, analysed and drawn from the blocks that exist; beside its results, never among them.

Snakemake makes a figure when all that it shows is measured. This makes it of what there is: the analysis of every model
is made anew from its measured blocks, tables of last snapshots are taken where they exist, figures say what is missing.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from induction.analyse.attributions import attributions
from induction.analyse.claims.stage import claims
from induction.analyse.curves import curves
from induction.analyse.passages import passages
from induction.analyse.pca import pca
from induction.analyse.phases import phases
from induction.analyse.repetitions import repetitions
from induction.analyse.window_rules import window_rules
from induction.artefacts.origins import is_stale
from induction.corpus.token_classes import read_classed_examples
from induction.errors import InductionError
from induction.figures.stage import figure
from induction.figures.theme import FORMATS
from induction.files import cannot_write, read_json, replacing, write_json
from induction.places import part_of
from induction.study.jobs import Jobs
from induction.study.stages import Node
from induction.study.study import Model, Study

_ANALYSED = (
    "curves",
    "replicates",
    "phases",
    "onsets",
    "window_rules",
    "attributions",
    "repetitions",
    "passages",
)
_OF_LAST_SNAPSHOTS = ("set_ablations", "idealised", "compositions", "periods", "pattern_tasks", "case_studies")


@dataclass(frozen=True)
class Drawn:
    """What a draft made: of each model the measured blocks of all, figures, and what could not be made and why."""

    measured: dict[str, tuple[int, int]]
    figures: list[str]
    left_out: dict[str, str]


def draft(study: Study, results: Path, out: Path, names: Sequence[str] = ()) -> Drawn:
    """Analyse and draw a study from the blocks whose losses and heads are measured.

    Args:
        study: the study.
        results: its folder `results`; only read.
        out: where tables, figures and claims.md go.
        names: figures to draw; default: all of the study.

    Returns:
        What was made. A figure that nothing can be shown of yet is left out, with the reason.

    Raises:
        InductionError: no block of any model is measured yet, a figure is none of the study's, or `out` holds files
            that no draft made.
    """
    jobs = Jobs(study, results)
    for name in names:
        study.models_of(name)
    left_out: dict[str, str] = {}
    current = _Current(jobs, left_out)
    blocks = {name: _measured_blocks(model, current) for name, model in study.models.items()}
    begun = [model for name, model in study.models.items() if blocks[name]]
    if not begun:
        raise InductionError(
            f"{results}/tables: no block of study {study.name} has both losses and heads yet. Run snakemake first."
        )
    drawn_figures = [out / "figures" / name for name in names or jobs.figures]
    made = _files_of_draft(out, [model.name for model in begun], drawn_figures)
    _begin(out, made)
    for model in begun:
        _analyse(model, blocks[model.name], study, current, out / "tables", left_out)
    _shared(begun, blocks, jobs, current, out, left_out)
    parts = _parts(study, blocks, current, out / "tables")
    drawn = []
    for figure_out in drawn_figures:
        name = figure_out.name
        asked = SimpleNamespace(figure=name)
        of_models = {model.name for model in study.models_of(name)}
        given = [path for path, model in parts if model is None or model in of_models]
        settings = jobs.figure_json(asked)
        if _tried(name, left_out, figure, name, given, jobs.figure_models_json(asked), settings, figure_out):
            drawn.append(name)
    _note_made(out, [path for path in made if path.is_file()])
    return Drawn(
        {name: (len(found), len(study.models[name].blocks)) for name, found in blocks.items()}, drawn, left_out
    )


def as_text(drawn: Drawn, out: Path) -> str:
    """Return what a draft made, in lines for people."""
    lines = [f"{name}: {found} of {n} blocks" for name, (found, n) in drawn.measured.items()]
    lines += [f"{out}/figures/{name}.pdf" for name in drawn.figures]
    lines += [f"left out: {what}: {why}" for what, why in drawn.left_out.items()]
    return "\n".join(lines)


_MARKER = ".draft.json"
"""In the folder of a draft: the files that it has made there, and that the next one may remove."""


def _files_of_draft(out: Path, models: Sequence[str], figures: Sequence[Path]) -> list[Path]:
    """Return all files that a draft may write."""
    tables = [part_of(out / "tables", table, model) for table in _ANALYSED for model in models]
    shared = [out / "tables" / f"{table}.parquet" for table in ("pca", "claims", "orders")]
    drawings = [path.with_name(path.name + suffix) for path in figures for suffix in FORMATS]
    return [*tables, *shared, out / "claims.md", *drawings]


def _begin(out: Path, planned: Sequence[Path]) -> None:
    """Remove what an earlier draft made in a folder, and note what this one may make.

    Raises:
        InductionError: the folder is not empty and is not a draft's, or holds a file that no draft made where this one
            writes.
    """
    marker = out / _MARKER
    try:
        content = sorted(out.iterdir()) if out.is_dir() else []
        made = _made_earlier(marker) if marker.is_file() else []
        if content and not marker.is_file():
            raise InductionError(
                f"{out}: this folder holds {content[0].name} and is not the folder of a draft; nothing was removed. "
                "Name a new or empty folder: --out FOLDER. If an earlier version made a draft here, delete it."
            )
        if foreign := [path for path in planned if path not in made and path.exists()]:
            raise InductionError(
                f"{foreign[0]}: a draft writes here, and no draft made this file; nothing was removed. Move it away, "
                "or name another folder: --out FOLDER."
            )
        for path in made:
            path.unlink(missing_ok=True)
        _note_made(out, planned)
    except OSError as error:
        raise cannot_write(out if error.filename is None else Path(error.filename), error) from error


def _note_made(out: Path, made: Sequence[Path]) -> None:
    write_json(out / _MARKER, sorted(path.relative_to(out).as_posix() for path in made))


def _made_earlier(marker: Path) -> list[Path]:
    """Return the files that a draft has noted; each lies in the marker's folder, whatever links are on the way."""
    out, noted = marker.parent, read_json(marker, "list of a draft's files")
    if not isinstance(noted, list) or not all(isinstance(name, str) for name in noted):
        raise InductionError(f"{marker}: not the list of a draft's files. Name another folder: --out FOLDER.")
    for name in noted:
        within = (out / name).parent.resolve()
        if Path(name).is_absolute() or ".." in Path(name).parts or within != out.resolve() / Path(name).parent:
            raise InductionError(
                f"{marker}: lists {name} as a file of the draft, which lies elsewhere, in {within}; nothing was "
                "removed. Name another folder: --out FOLDER."
            )
    return [out / name for name in noted]


class _Current:
    """Which tables of the results are there, and of the study as it is configured now."""

    def __init__(self, jobs: Jobs, left_out: dict[str, str]) -> None:
        self._jobs, self._left_out = jobs, left_out

    def path(self, node: Node) -> Path | None:
        """Return a table's file, if it is there; of one that was made from other settings keep the reason, no file."""
        path = self._jobs.graph.path(node)
        if not path.is_file():
            return None
        if is_stale(path, self._jobs.identity(node)):
            self._left_out[str(path)] = "made from other settings than the study's now"
            return None
        return path


def _measured_blocks(model: Model, current: _Current) -> list[int]:
    """Return the first blocks, without a gap, whose losses and heads are measured."""
    found: list[int] = []
    for block in range(len(model.blocks)):
        if not all(current.path(Node(table, model.name, block)) for table in ("losses", "heads")):
            break
        found.append(block)
    return found


def _analyse(
    model: Model,
    blocks: list[int],
    study: Study,
    current: _Current,
    out: Path,
    left_out: dict[str, str],
) -> None:
    """Write the analysis of one model."""
    config = study.config
    losses, heads, ablations = (
        [path for block in blocks if (path := current.path(Node(table, model.name, block)))]
        for table in ("losses", "heads", "ablations")
    )
    evaluation = current.path(Node("evaluation", model.fields.corpus))
    if evaluation is None:
        left_out[f"analysis of {model.name}"] = f"the evaluation set of corpus {model.fields.corpus} is not there"
        return
    named = {table: part_of(out, table, model.name) for table in _ANALYSED}
    by_examples = (losses, heads, evaluation, config.in_context, config.bootstrap)
    steps: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = [
        ("curves", curves, (*by_examples, named["curves"], named["replicates"])),
        ("phases", phases, (*by_examples, config.phases, named["phases"], named["onsets"])),
        (
            "window_rules",
            window_rules,
            (named["curves"], named["replicates"], config.phases, config.window_rules, named["window_rules"]),
        ),
    ]
    if ablations:
        given = (ablations, losses, named["phases"], evaluation, config.bootstrap, named["attributions"])
        steps.append(("attributions", attributions, given))
    classed = current.path(Node("token_classes", model.fields.corpus))
    if classed:
        examples, found = read_classed_examples(evaluation, classed)
        classes = (found.classes, found.evaluation)
        both = (losses, named["phases"])
        passage = (examples.tokens, *classes, found.texts, found.passages, found.passage_tokens, named["passages"])
        steps += [
            ("repetitions", repetitions, (*both, *classes, config.bootstrap, named["repetitions"])),
            ("passages", passages, (*both, *passage)),
        ]
    for table, stage, arguments in steps:
        _tried(f"{table} of {model.name}", left_out, stage, *arguments)


def _shared(
    begun: list[Model], blocks: dict[str, list[int]], jobs: Jobs, current: _Current, out: Path, left_out: dict[str, str]
) -> None:
    """Write the tables of all models together."""
    settings = json.loads(jobs.claims_json(None))
    config = jobs.study.config
    losses = [jobs.graph.path(Node("losses", model.name, block)) for model in begun for block in blocks[model.name]]
    groups = {model.name: model.group for model in begun}
    evaluations = {model.group: jobs.graph.path(Node("evaluation", model.fields.corpus)) for model in begun}
    shared = out / "tables/pca.parquet"
    _tried("pca", left_out, pca, losses, evaluations, groups, config.bootstrap, config.phases, shared)
    given = [path for path, _ in _parts(jobs.study, blocks, current, out / "tables")]
    judged = (out / "tables/claims.parquet", out / "tables/orders.parquet", out / "claims.md")
    if _tried("claims", left_out, claims, given, settings["models"], settings["settings"], *judged):
        measured = sum(map(len, blocks.values()))
        planned = sum(len(model.blocks) for model in jobs.study.models.values())
        told = f"A draft of {measured} of {planned} blocks: models are compared at the snapshots that they have.\n\n"
        with replacing(judged[-1]) as temporary:
            temporary.write_text(told + judged[-1].read_text(encoding="utf-8"), encoding="utf-8")


def _parts(study: Study, blocks: dict[str, list[int]], current: _Current, made: Path) -> list[tuple[Path, str | None]]:
    """Return all parts that figures and claims can be made of, and the model of each; none: of all."""
    found: list[tuple[Path | None, str | None]] = []
    for name in study.models:
        found += [
            (current.path(Node(table, name, block)), name) for table in ("heads", "ablations") for block in blocks[name]
        ]
        found += [(current.path(Node(table, name)), name) for table in _OF_LAST_SNAPSHOTS]
        found += [(part_of(made, table, name), name) for table in _ANALYSED if blocks[name]]
    found.append((made / "pca.parquet", None))
    return [(path, model) for path, model in found if path is not None and path.is_file()]


def _tried(what: str, left_out: dict[str, str], stage: Callable[..., Any], *arguments: Any) -> bool:
    """Run a stage; where the study has not come so far, keep why."""
    try:
        stage(*arguments)
    except InductionError as error:
        left_out[what] = str(error)
        return False
    return True
