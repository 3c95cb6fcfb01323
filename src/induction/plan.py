"""What a study costs before it runs: parameters, operations, GPU-hours, nodes, disk and jobs, from its configuration.

Operations: of training 3 x (2 x weights in products x tokens + 4 x width of a head x pairs of query and key), the
backward pass being two forward ones; of measuring one forward pass. Embeddings are no products, the unembedding is one.
Pairs that causality or a local window hides are not counted, nor is what checkpointed activations compute again, which
takes time nevertheless. GPU-hours: operations over the GPU's peak at the stated utilisation, and time on the disk.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from induction.errors import InductionError
from induction.study.architecture import Architecture
from induction.study.placement import (
    HEADROOM,
    Placement,
    block_flops,
    forward_flops,
    measuring_gb,
    n_parameters,
    place,
    resumable_bytes,
    sequence_seconds,
    snapshot_bytes,
    training_flops,
    unembedding_flops,
)
from induction.study.site import SITE_FILE, Site, load_site, single_gpu
from induction.study.steps import every_nth
from induction.study.study import Model, Study
from induction.tables.schemas import TABLES
from induction.tables.table import Table

STAGES = ("corpus", "train", "losses", "heads", "ablations", "last snapshot", "analysis", "figures")
_ON_GPUS = ("train", "losses", "heads", "ablations", "last snapshot")
_RULES = {
    "corpus": ("corpus", "evaluation", "probes", "token_classes", "prompts"),
    "train": ("train",),
    "losses": ("losses",),
    "heads": ("heads",),
    "ablations": ("ablations",),
    "last snapshot": ("set_ablations", "idealised", "compositions", "periods", "pattern_tasks", "case_studies"),
    "analysis": (
        "curves", "phases", "window_rules", "attributions", "repetitions", "passages", "pca", "claims",
    ),
}  # fmt: skip
"""Rules of each stage; all others draw figures and the report."""

_EVERY_MODEL = ("idealised", "curves", "phases", "attributions", "repetitions", "model_page")
_WITH_CASE_STUDIES = ("pattern_tasks", "case_studies")
"""Rules that run for every model, too, if the study draws the figure case_studies."""
_SHOWN_BY = {
    "set_ablations": "ablations",
    "compositions": "circuits",
    "periods": "head_scores",
    "passages": "tokens",
    "window_rules": "window_rules",
}
"""Rules that run for the models of a figure alone."""

# Rates of the stages that use no GPU: those of the demo, on two cores, as the README tells them.
_CORPUS_TOKENS_A_CORE_SECOND = 750_000.0
_ANALYSIS_SECONDS_A_GB = 170.0
_FIGURE_SECONDS = 10.0
_HASTE_SECONDS = 60
"""Between a signal and the limit: what else than a step and a state may take time, a file system that is busy first."""


@dataclass(frozen=True)
class ModelPlan:
    """What one model costs.

    `n_parameters`: weights of the blocks' matrices, as the paper counts; `n_all`: all of them. `block_hours`: of
    training each block; `step_seconds`: of a training step, with the largest batch. `hours`: of its jobs by stage, one
    after the other; `longest`: of the longest of them. `disk`: bytes of snapshots, states and tables (before
    compression). `measuring_gb`: memory that measuring it needs. `problem`: why it cannot be placed.
    """

    name: str
    family: str
    n_parameters: int
    n_all: int
    tokens: int
    n_snapshots: int
    n_ablated: int
    training_flops: int
    measuring_flops: dict[str, int]
    placement: Placement | None
    problem: str
    measuring_gb: float
    block_hours: tuple[float, ...]
    step_seconds: float
    hours: dict[str, float]
    longest: dict[str, float]
    disk: dict[str, int]

    def gpu_hours(self, stage: str) -> float:
        """Return the GPU-hours of a stage; measuring takes one GPU."""
        n_ranks = self.placement.n_ranks if self.placement and stage == "train" else 1
        return n_ranks * self.hours.get(stage, 0.0)

    def state_seconds(self, site: Site) -> float:
        """Return how long a state takes to write."""
        return self.disk["states"] / len(self.block_hours) / 1e9 / site.speed.disk_gb_per_second


@dataclass(frozen=True)
class StagePlan:
    """What a stage costs: its jobs, hours of GPUs, or of the CPU where it uses none, and the longest job's hours."""

    jobs: int
    gpu_hours: float
    cpu_hours: float
    longest_hours: float


@dataclass(frozen=True)
class Plan:
    """What a study costs on a site; `hours_at_least`: from corpus to figures, if no job waits for a GPU."""

    study: str
    site: Site
    models: tuple[ModelPlan, ...]
    stages: dict[str, StagePlan]
    jobs: dict[str, int]
    corpora: dict[str, int]
    disk: dict[str, int]
    hours_at_least: float
    warnings: tuple[str, ...]

    @property
    def gpu_hours(self) -> float:
        """GPU-hours of all stages."""
        return sum(stage.gpu_hours for stage in self.stages.values())


def chosen_site(path: Path | None = None, gpu: str | None = None, utilisation: float | None = None) -> Site:
    """Return the site to plan for.

    Args:
        path: a site file; default: the one that `--profile slurm` reads, or without it one GPU.
        gpu: name of a GPU to put in place of the site's.
        utilisation: share of the peak that training reaches, in place of the site's.

    Raises:
        InductionError: a mistake in the file, a GPU that is not known, or a share that is none.
    """
    if path is None and not SITE_FILE.is_file() and gpu is not None:
        site = single_gpu(gpu)
    else:
        site = load_site(path or SITE_FILE)
        site = site.with_gpu(gpu) if gpu else site
    if utilisation is None:
        return site
    if not 0 < utilisation <= 1:
        raise InductionError(f"--utilisation: {utilisation:g} is no share of the peak. Permitted: above 0, up to 1.")
    return site.model_copy(update={"speed": site.speed.model_copy(update={"training_utilisation": utilisation})})


def plan(study: Study, site: Site) -> Plan:
    """Reckon what a study costs on a site; a model that cannot be placed is told, and left out of the sums."""
    models = tuple(_plan_model(study, model, site) for model in study.models.values())
    jobs = count_jobs(study)
    corpora = _tokens_of_corpora(study)
    disk = {kind: sum(model.disk[kind] for model in models) for kind in ("snapshots", "states", "tables")}
    disk["corpora"] = sum(_corpus_bytes(study, name, tokens) for name, tokens in corpora.items())
    stages = _stages(models, jobs, corpora, site)
    chains = [
        stages["corpus"].longest_hours
        + model.hours["train"]
        + max(model.longest[stage] for stage in _ON_GPUS if stage != "train")
        for model in models
        if model.placement
    ]
    at_least = max(chains, default=0.0) + stages["analysis"].longest_hours + stages["figures"].longest_hours
    return Plan(study.name, site, models, stages, jobs, corpora, disk, at_least, tuple(_warnings(models, stages, site)))


# --- a model ----------------------------------------------------------------------------------------------------


def _plan_model(study: Study, model: Model, site: Site) -> ModelPlan:
    fields, architecture = model.fields, model.architecture
    placement, problem = None, ""
    try:
        placement = place(fields, architecture, site, model.name)
    except InductionError as error:
        problem = str(error)
    measuring = {
        stage: [tuple(flops(study, model, block)) for block in model.blocks] for stage, flops in MEASURING.items()
    }
    measuring["last snapshot"] = [(_last_snapshot_flops(study, model),)]
    rate = site.rank_peak_flops * site.speed.measuring_utilisation * 3600
    reading = snapshot_bytes(architecture) / 1e9 / site.speed.disk_gb_per_second / 3600
    hours = {stage: [sum(flops / rate + reading for flops in job) for job in jobs] for stage, jobs in measuring.items()}
    a_sequence = 0.0
    if placement:
        checkpointed = placement.checkpoint_activations
        a_sequence = sequence_seconds(architecture, site, placement.n_ranks, checkpointed=checkpointed)
    hours["train"] = list(_block_hours(model, site, a_sequence)) if placement else [0.0]
    return ModelPlan(
        name=model.name,
        family=model.family,
        n_parameters=fields.n_parameters,
        n_all=n_parameters(architecture),
        tokens=model.tokens_at(fields.n_steps),
        n_snapshots=len(model.steps),
        n_ablated=len(every_nth(model.steps, study.config.ablations.every)),
        training_flops=training_flops(fields, architecture),
        measuring_flops={stage: sum(map(sum, jobs)) for stage, jobs in measuring.items()},
        placement=placement,
        problem=problem,
        measuring_gb=measuring_gb(architecture),
        block_hours=tuple(hours["train"]),
        step_seconds=max(fields.schedule.batch_sizes) * a_sequence,
        hours={stage: sum(jobs) for stage, jobs in hours.items()},
        longest={stage: max(jobs) for stage, jobs in hours.items()},
        disk={
            "snapshots": len(model.steps) * snapshot_bytes(architecture),
            # The last one of each block, from which the next goes on.
            "states": len(model.blocks) * resumable_bytes(fields, architecture),
            "tables": sum(table_bytes(study, model).values()),
        },
    )


def _block_hours(model: Model, site: Site, a_sequence: float) -> Iterable[float]:
    """Yield the hours of training each block: its steps, snapshots, and a state at each and every `state_minutes`.

    `a_sequence`: seconds that a sequence takes.
    """
    fields, start = model.fields, 0
    snapshot, state = (
        size / 1e9 / site.speed.disk_gb_per_second
        for size in (snapshot_bytes(model.architecture), resumable_bytes(fields, model.architecture))
    )
    for block in model.blocks:
        seconds = 0.0
        for step in block:
            n_sequences = fields.schedule.sequences_before(step) - fields.schedule.sequences_before(start)
            training = n_sequences * a_sequence
            seconds += training + snapshot + (1 + training // (60 * site.jobs.state_minutes)) * state
            start = step
        yield seconds / 3600


def _loss_flops(study: Study, model: Model, block: tuple[int, ...]) -> Iterable[int]:
    evaluation = study.config.evaluation
    yield from [evaluation.n_examples * forward_flops(model.architecture, evaluation.n_tokens)] * len(block)


def _head_flops(study: Study, model: Model, block: tuple[int, ...]) -> Iterable[int]:
    """Yield the operations of scoring heads: the probes, each head's logits of its tokens, circuits of weights."""
    architecture, probes = model.architecture, study.config.probes
    d_model, width = architecture.d_model, architecture.n_heads * architecture.d_head
    forward = probes.n_sequences * (
        block_flops(architecture, probes.period * probes.n_repeats + 1) + block_flops(architecture, probes.period)
    ) + probes.n_examples * block_flops(architecture, study.config.evaluation.n_tokens)
    drawn = probes.n_sequences * probes.period
    logits = 2 * drawn * d_model * architecture.n_layers * (width + architecture.n_heads * probes.period)
    between = 2 * d_model**2 * (architecture.vocab_size + architecture.n_layers * width)
    pairs = architecture.n_layers * (architecture.n_layers - 1) // 2
    compositions = 3 * 2 * pairs * width**2 * (d_model + 2 * architecture.d_head)
    yield from [forward + logits + between + compositions] * len(block)


def _ablation_flops(study: Study, model: Model, block: tuple[int, ...]) -> Iterable[int]:
    """Yield the operations of ablating every head of the chosen snapshots, in the ways that are asked of each."""
    settings = study.ablations_of(model)
    chosen = every_nth(model.steps, settings.every)
    kept, full = (_ablated_flops(study, model.architecture, full=full) for full in (False, True))
    for step in block:
        if step in chosen:
            every_way = settings.every_way == "all" or step == model.steps[-1]
            yield settings.n_examples * (len(settings.replacements) + 1 if every_way else 1) * kept + (
                settings.n_examples * full
            )


MEASURING = {"losses": _loss_flops, "heads": _head_flops, "ablations": _ablation_flops}
"""Operations of each snapshot of a block, by stage."""


def _ablated_flops(study: Study, architecture: Architecture, *, full: bool) -> int:
    """Return the operations of ablating each head once, on one example.

    From the ablated layer up: values, mixes, results and MLPs, in `full` ablation queries, keys and patterns too; in
    the last layer, and of logits, those of the asked positions alone. What spans of heads save is not taken off.
    """
    n_tokens, asked = study.config.evaluation.n_tokens, _n_asked(study)
    d_model, d_mlp = architecture.d_model, architecture.d_mlp
    width, last = architecture.n_heads * architecture.d_head, architecture.n_layers - 1
    own = 2 * architecture.d_head * d_model + 4 * d_model * d_mlp
    total = 0
    for layer in range(architecture.n_layers):
        each = own * (asked if layer == last else n_tokens)
        for above in range(layer + 1, architecture.n_layers):
            rows = asked if above == last else n_tokens
            each += 2 * d_model * width * (n_tokens + rows) + (2 * width * n_tokens + 4 * d_model * d_mlp) * rows
            if full:
                each += 2 * d_model * width * (n_tokens + rows) + 2 * width * n_tokens * rows
        total += architecture.n_heads * (each + unembedding_flops(architecture, asked))
    return total


def _n_asked(study: Study) -> int:
    """Return of how many tokens of an example ablations ask the loss."""
    scores = study.config.in_context
    windows = (scores.early_window, scores.late_window)
    inside = {index for first, stop in windows for index in range(first, stop + 1)}
    return len(inside | {scores.early, scores.late}) + 1


def _last_snapshot_flops(study: Study, model: Model) -> int:
    """Return the operations of what is measured of the last snapshot alone, as forward passes over its examples.

    Sets of heads in all ways, idealised heads, prompts and passages: some ten sets, five ways, and as much again.
    """
    config = study.config
    n_passes = 60 * study.ablations_of(model).n_examples + 8 * config.idealised.n_examples + config.prompts.n_prompts
    return n_passes * forward_flops(model.architecture, config.evaluation.n_tokens)


# --- tables -----------------------------------------------------------------------------------------------------

_BYTES = {"int64": 8, "int16": 2, "float32": 4, "float64": 8, "string": 1, "bool": 1}
"""Of a value; a string is one of a few, which Parquet numbers."""


def row_bytes(table: Table, size: int = 0) -> int:
    """Return the bytes of a row before compression; `size`: length of its array columns."""
    return sum(4 * size if column.kind == "float32[]" else _BYTES[column.kind] for column in table.columns)


def table_bytes(study: Study, model: Model) -> dict[str, int]:
    """Return the bytes of a model's rows of the large tables, before compression; the others hold a few kilobytes."""
    config, architecture = study.config, model.architecture
    n_snapshots, n_heads = len(model.steps), architecture.n_layers * architecture.n_heads
    n_examples, n_tokens = config.evaluation.n_examples, config.evaluation.n_tokens
    ablated = every_nth(model.steps, config.ablations.every)
    thorough = len(ablated) if config.ablations.every_way == "all" else 1
    n_ways = 2 * len(ablated) + thorough * len(config.ablations.replacements)
    pairs = architecture.n_heads**2 * architecture.n_layers * (architecture.n_layers - 1) // 2
    shown = pairs if model.name in _shown(study, "circuits") else 0
    rows = {
        "training": (model.fields.n_steps, 0),
        "losses": (n_snapshots * n_examples, n_tokens),
        "heads": (n_snapshots * n_heads, 0),
        "ablations": (len(ablated) + n_ways * n_heads, study.ablations_of(model).n_examples),
        "compositions": (shown, 0),
        "curves": (n_snapshots, n_tokens),
        "replicates": (n_snapshots, config.bootstrap.n_resamples),
        "attributions": (2 * len(ablated) * n_heads, 0),
    }
    return {name: n_rows * row_bytes(TABLES[name], size) for name, (n_rows, size) in rows.items()}


# --- jobs, corpora, stages --------------------------------------------------------------------------------------


def count_jobs(study: Study) -> dict[str, int]:
    """Return how many jobs of each rule `snakemake` runs for a study of which nothing is there yet."""
    n_models = len(study.models)
    n_blocks = sum(len(model.blocks) for model in study.models.values())
    n_corpora = len(_tokens_of_corpora(study))
    counts = dict.fromkeys(_RULES["corpus"], n_corpora)
    counts |= dict.fromkeys(("train", "losses", "heads", "ablations"), n_blocks)
    counts |= {rule: len(_shown(study, figure)) for rule, figure in _SHOWN_BY.items()}
    counts |= dict.fromkeys(_EVERY_MODEL, n_models)
    if "case_studies" in study.config.figures:
        counts |= dict.fromkeys(_WITH_CASE_STUDIES, n_models)
    else:
        del counts["prompts"]
    counts |= {f"{figure}_figure": 1 for figure in study.config.figures}
    counts |= dict.fromkeys(("pca", "claims", "report"), 1)
    return {rule: count for rule, count in counts.items() if count}


def _shown(study: Study, figure: str) -> list[str]:
    """Return the names of the models that a figure shows, if the study draws it."""
    drawn: Mapping[Any, Any] = study.config.figures
    return [model.name for model in study.models_of(figure)] if figure in drawn else []


def _tokens_of_corpora(study: Study) -> dict[str, int]:
    """Return the training tokens that each corpus must hold."""
    needed: dict[str, int] = {}
    for model in study.models.values():
        corpus = model.fields.corpus
        needed[corpus] = max(needed.get(corpus, 0), model.tokens_needed)
    return needed


def _corpus_bytes(study: Study, name: str, tokens: int) -> int:
    """Return the bytes of a corpus's tokens, those kept out of training included."""
    corpus = study.corpus(name)
    return math.ceil(tokens / (1 - corpus.held_out)) * (2 if corpus.vocab_size <= 2**16 else 4)


def _stages(
    models: tuple[ModelPlan, ...], jobs: Mapping[str, int], corpora: Mapping[str, int], site: Site
) -> dict[str, StagePlan]:
    known = {rule for rules in _RULES.values() for rule in rules}
    drawing = sum(count for rule, count in jobs.items() if rule not in known)
    placed = [model for model in models if model.placement]
    stages = {
        stage: StagePlan(
            jobs=sum(jobs.get(rule, 0) for rule in _RULES[stage]),
            gpu_hours=sum(model.gpu_hours(stage) for model in placed),
            cpu_hours=0.0,
            longest_hours=max((model.longest[stage] for model in placed), default=0.0),
        )
        for stage in _ON_GPUS
    }
    core_hours = {name: tokens / _CORPUS_TOKENS_A_CORE_SECOND / 3600 for name, tokens in corpora.items()}
    building = sum(jobs.get(rule, 0) for rule in _RULES["corpus"])
    stages["corpus"] = StagePlan(
        building, 0.0, sum(core_hours.values()), max(core_hours.values()) / site.jobs.cpu_cores
    )
    gigabytes = [model.disk["tables"] / 1e9 for model in models]
    analysing = sum(jobs.get(rule, 0) for rule in _RULES["analysis"])
    stages["analysis"] = StagePlan(
        analysing,
        0.0,
        sum(gigabytes) * _ANALYSIS_SECONDS_A_GB / 3600,
        max(gigabytes) * _ANALYSIS_SECONDS_A_GB / 3600,
    )
    stages["figures"] = StagePlan(drawing, 0.0, drawing * _FIGURE_SECONDS / 3600, _FIGURE_SECONDS / 3600)
    return {stage: stages[stage] for stage in STAGES}


def _warnings(models: Iterable[ModelPlan], stages: Mapping[str, StagePlan], site: Site) -> Iterable[str]:
    models = list(models)
    limit = site.jobs.minutes / 60
    for model in models:
        if model.problem:
            yield f"cannot be placed, left out of all sums: {model.problem}"
    if several := [f"{m.name} ({max(m.block_hours):.0f} h)" for m in models if max(m.block_hours) > limit]:
        yield (
            f"blocks that outlast the time limit of {limit:g} h, and go on from a saved state in another job: "
            f"{', '.join(several)}"
        )
    for stage in _ON_GPUS[1:]:
        if several := [f"{m.name} ({m.longest[stage]:.0f} h)" for m in models if m.longest[stage] > limit]:
            yield f"{stage}: jobs that outlast the time limit of {limit:g} h: {', '.join(several)}"
    cpu_limit = site.jobs.most_cpu_minutes / 60
    for stage in ("corpus", "analysis"):
        if (longest := stages[stage].longest_hours) > cpu_limit:
            yield f"{stage}: a job of {longest:.0f} h outlasts the time limit of {cpu_limit:g} h without a GPU"
    if late := [
        f"{m.name} ({_time(m.hours['train'])}; {_way_out(m)})"
        for m in models
        if m.hours["train"] > 24 * site.jobs.training_days
    ]:
        yield f"training outlasts training_days ({site.jobs.training_days:g}): {', '.join(late)}"
    if large := [
        f"{m.name} ({m.measuring_gb:.0f} GB)" for m in models if m.measuring_gb > HEADROOM * site.rank_memory_gb
    ]:
        yield f"too large to be measured on one {site.rank_name} in float32: {', '.join(large)}"
    ends = {m.name: (m.step_seconds, m.state_seconds(site)) for m in models if m.placement}
    if slow := [
        f"{name} ({step:.0f} + {state:.0f} s)"
        for name, (step, state) in ends.items()
        if step + state + _HASTE_SECONDS > site.jobs.grace_seconds
    ]:
        yield (
            f"grace_seconds ({site.jobs.grace_seconds}) may be too short to end a step and write a state, with "
            f"{_HASTE_SECONDS} s in hand: {', '.join(slow)}"
        )


def _way_out(model: ModelPlan) -> str:
    """Return what to do of training that takes too long."""
    placement = model.placement
    if placement and placement.micro_batch * math.gcd(*placement.accumulation) == 1:
        return "its batches divide over no more GPUs"
    return "raise jobs.nodes"


# --- for people and for programs --------------------------------------------------------------------------------


def as_json(told: Plan) -> dict[str, Any]:
    """Return a plan as JSON values; bytes, hours, operations and tokens as numbers."""
    site = told.site
    return {
        "study": told.study,
        "site": site.model_dump(mode="json"),
        "gpu": {"name": site.rank_name, "memory_gb": site.rank_memory_gb, "peak_flops": site.rank_peak_flops},
        "models": [
            {**asdict(model), "gpu_hours": {stage: model.gpu_hours(stage) for stage in _ON_GPUS}}
            for model in told.models
        ],
        "stages": {stage: asdict(planned) for stage, planned in told.stages.items()},
        "jobs": {**told.jobs, "all": sum(told.jobs.values())},
        "corpora": {name: {"tokens": tokens} for name, tokens in told.corpora.items()},
        "disk_bytes": {**told.disk, "all": sum(told.disk.values())},
        "gpu_hours": told.gpu_hours,
        "hours_at_least": told.hours_at_least,
        "warnings": list(told.warnings),
    }


_COLUMNS = {
    "model": 16, "params": 7, "all": 6, "tokens": 7, "FLOPs": 8, "nodes": 6, "ZeRO": 5, "batch": 8, "ckpt": 5, "GB": 4,
    "train": 7, "blocks": 7, "longest": 8, "GPU-h": 7, "losses": 7, "heads": 6, "ablate": 7, "disk": 8,
}  # fmt: skip
"""Columns of the table for people, and their widths."""
_LINE = 130


def as_text(told: Plan) -> str:
    """Return a plan as text for people: a line a model, then sums by stage, disk and warnings."""
    site = told.site
    lines = [
        f"study {told.study} on {site.name}: {site.rank_name}, {site.rank_memory_gb:.0f} GB, "
        f"{site.rank_peak_flops / 1e12:g} TFLOP/s, of which training reaches {site.speed.training_utilisation:g}, "
        f"measuring {site.speed.measuring_utilisation:g}",
        _row(list(_COLUMNS)),
        *(_row(_cells(model)) for model in told.models),
        _row(_sums(told)),
        "batch: sequences at once on a GPU x how often in a step. ckpt: activations checkpointed. GB: memory of a GPU. "
        "train: wall time.",
        "longest: block. GPU-h: of training; of measuring: losses, heads, ablate. disk: snapshots, states and tables.",
        *_by_stage(told),
    ]
    shares = ", ".join(f"{kind} {_bytes(size)}" for kind, size in told.disk.items())
    lines += [
        f"disk: {_bytes(sum(told.disk.values()))}: {shares} (tables before compression)",
        f"from start to end: {_time(told.hours_at_least)}, if no job waits for a GPU",
    ]
    for warning in told.warnings:
        lines += textwrap.wrap(f"! {warning}", _LINE, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(lines)


def _by_stage(told: Plan) -> list[str]:
    stages = told.stages.values()
    columns = [
        ("stage", "jobs", "GPU-h", "CPU-h", "longest job"),
        *(
            (name, str(one.jobs), _hours(one.gpu_hours), _hours(one.cpu_hours), _time(one.longest_hours))
            for name, one in told.stages.items()
        ),
        ("all", str(sum(told.jobs.values())), _hours(told.gpu_hours), _hours(sum(one.cpu_hours for one in stages)), ""),
    ]
    widths = [max(10, len(column[0]) + 2) for column in columns[1:]]
    return [
        f"{first:12}{''.join(f'{cell:>{width}}' for cell, width in zip(rest, widths, strict=True))}".rstrip()
        for first, *rest in zip(*columns, strict=True)
    ]


def _cells(model: ModelPlan) -> list[str]:
    placement, train = model.placement, ["-", "-", "no fit", *["-"] * 6]
    if placement:
        train = [
            f"{placement.n_nodes}x{placement.ranks_per_node}",
            str(placement.zero_stage),
            f"{placement.micro_batch}x{','.join(map(str, placement.accumulation))}",
            "yes" if placement.checkpoint_activations else "no",
            f"{placement.memory_gb:.0f}",
            _time(model.hours["train"]),
            str(len(model.block_hours)),
            _time(model.longest["train"]),
            _hours(model.gpu_hours("train")),
        ]
    size = [_short(model.n_parameters), _short(model.n_all), _short(model.tokens), f"{model.training_flops:.1e}"]
    measuring = [_hours(model.gpu_hours(stage)) for stage in ("losses", "heads", "ablations")]
    return [model.name, *size, *train, *measuring, _bytes(sum(model.disk.values()))]


def _sums(told: Plan) -> list[str]:
    placed = [model for model in told.models if model.placement]
    size = [_short(sum(getattr(model, name) for model in placed)) for name in ("n_parameters", "n_all", "tokens")]
    hours = [_hours(told.stages[stage].gpu_hours) for stage in ("train", "losses", "heads", "ablations")]
    disk = sum(told.disk[kind] for kind in ("snapshots", "states", "tables"))
    flops, n_blocks = sum(model.training_flops for model in placed), sum(len(model.block_hours) for model in placed)
    return [f"all {len(placed)}", *size, f"{flops:.1e}", *[""] * 6, str(n_blocks), "", *hours, _bytes(disk)]


def _row(cells: list[str]) -> str:
    (first, width), *rest = zip(cells, _COLUMNS.values(), strict=True)
    return f"{first:{width}}" + "".join(f"{cell:>{width}}" for cell, width in rest)


def _short(number: float) -> str:
    """Return a number in three digits, with thousand, million or (American) billion and trillion as K, M, B and T."""
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= 0.9995 * unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:g}"


def _bytes(number: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if number >= 0.995 * unit:
            return f"{number / unit:.{1 if number < 9.95 * unit else 0}f} {name}"
    return f"{number / 1e3:.0f} kB"


def _hours(hours: float) -> str:
    if not hours:
        return "-"
    return f"{hours:,.{0 if hours >= 9.95 else 1 if hours >= 0.995 else 2}f}"


def _time(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:.{1 if hours < 2399 else 0}f} d"
    if hours >= 0.95:
        return f"{hours:.1f} h"
    return f"{60 * hours:.0f} min" if hours >= 1 / 60 else f"{3600 * hours:.0f} s"
