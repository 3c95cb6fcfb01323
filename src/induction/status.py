"""How far a study has come, read from its results: what is done, runs, has stalled or failed, and what training sees.

No job is asked: manifests and tables tell what is done, `progress.jsonl` and `.lock` in a model's folder how its
training goes, logs what has failed. Where SLURM's commands are at hand, they tell which jobs wait and run, and how the
last one ended.
"""

import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from induction.artefacts.origins import is_stale
from induction.errors import InductionError
from induction.places import PROGRESS
from induction.study.jobs import Jobs
from induction.study.stages import Node
from induction.study.study import Model, Study
from induction.tables.progress import progress_rows

STAGES = ("train", "losses", "heads", "ablations")

DONE, RUNNING, QUEUED, STALLED, STOPPED, FAILED, PENDING, STALE = (
    "done",
    "running",
    "queued",
    "stalled",
    "stopped",
    "failed",
    "pending",
    "stale",
)

_SILENT_SECONDS = 300.0
_SILENT_LINES = 10
"""Training that writes no line for so long, or for so many times as long as between its last two, has stalled."""
_TAIL_BYTES = 1 << 16
_SLURM_SECONDS = 20
_UNDER_WAY = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT")
_ENDED_BADLY = ("FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE")


@dataclass(frozen=True)
class SlurmJob:
    """A job that SLURM knows. `comment`: what Snakemake says it is; `folder`: where it runs; `reason`: why it waits."""

    number: str
    state: str
    comment: str
    folder: str
    reason: str


@dataclass(frozen=True)
class Slurm:
    """What SLURM's commands tell; nothing where there are none."""

    jobs: tuple[SlurmJob, ...] = ()
    ended: Mapping[str, str] = field(default_factory=dict)
    """How jobs ended that did not end well, by number."""
    known: bool = False
    """Whether squeue has answered, so that a job it does not name is none any more."""


@dataclass(frozen=True)
class StageStatus:
    """Blocks of a model in one stage; those that are neither done, running nor failed are to come."""

    done: int
    of: int
    running: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Problem:
    """A job that failed or stopped: what its log says last, and how SLURM says it ended."""

    job: str
    state: str
    log: str
    says: str
    slurm: str


@dataclass(frozen=True)
class ModelStatus:
    """Where a model is.

    `training`: done, running, queued, stalled, stopped, failed or pending; `progress`: its last line, see
    `induction.train.reporting`, or None; `silent_seconds`: since that line; `seconds_left`: of all its training, at the
    speed of that line.
    """

    name: str
    stages: dict[str, StageStatus]
    training: str
    last_step: int
    progress: dict[str, Any] | None
    silent_seconds: float | None
    seconds_left: float | None
    slurm_jobs: tuple[SlurmJob, ...]


@dataclass(frozen=True)
class StudyStatus:
    """Where a study is. `corpora`: a state each."""

    study: str
    time: float
    models: tuple[ModelStatus, ...]
    corpora: dict[str, str]
    figures: tuple[int, int]
    report: str
    problems: tuple[Problem, ...]


def status(study: Study, results: Path, slurm: Slurm | None = None, now: float | None = None) -> StudyStatus:
    """Tell how far a study has come.

    Args:
        study: the study.
        results: its folder `results`; only read.
        slurm: what SLURM tells; default: nothing.
        now: seconds since 1970; default: the clock.
    """
    jobs = Jobs(study, results)
    seen = _Seen(results, jobs, slurm or Slurm(), time.time() if now is None else now)
    models = tuple(_model_status(model, seen) for model in study.models.values())
    corpora = {name: seen.of("corpus", (name,), Node("corpus", name)) for name in jobs.corpora}
    figures = [seen.of("figures", (name,), Node("figure", name)) for name in jobs.figures]
    report = seen.of("report", (), Node("report"))
    drawn = (figures.count(DONE), len(figures))
    seen.note_stale()
    return StudyStatus(study.name, seen.now, models, corpora, drawn, report, tuple(seen.problems))


# --- what files and SLURM tell ----------------------------------------------------------------------------------------


class _Seen:
    """What is found of jobs; collects problems."""

    def __init__(self, results: Path, jobs: Jobs, slurm: Slurm, now: float) -> None:
        self.results, self.slurm, self.now = results, slurm, now
        self._study = jobs
        self.problems: list[Problem] = []
        self.stale: list[Path] = []
        here = str(results.parent.resolve())
        self._jobs = {job.comment: job for job in slurm.jobs if job.folder in ("", here)}
        # Snakemake holds its lock while it runs; one that was killed leaves it, and nothing is known then.
        self._snakemake = any((results.parent / ".snakemake/locks").glob("*"))

    def job(self, rule: str, wildcards: Iterable[str]) -> SlurmJob | None:
        """Return the job of SLURM that Snakemake's executor has submitted for a rule's job."""
        name = "_".join(wildcards)
        return self._jobs.get(f"rule_{rule}_wildcards_{name}" if name else f"rule_{rule}")

    def found(self, node: Node) -> str:
        """Return whether an artefact is there: done, stale (made from other settings than the study's) or pending."""
        path = self._study.graph.path(node)
        if not path.is_file():
            return PENDING
        if is_stale(path, self._study.identity(node)):
            self.stale.append(path)
            return STALE
        return DONE

    def note_stale(self) -> None:
        """Keep one problem for all stale results."""
        if self.stale:
            what = "1 result" if len(self.stale) == 1 else f"{len(self.stale)} results, this one first"
            says = "made from other settings than the study's now; snakemake makes them again"
            self.problems.append(Problem(what, STALE, str(self.stale[0]), says, ""))

    def of(self, rule: str, wildcards: tuple[str, ...], node: Node) -> str:
        """Return the state of a job that writes no progress; note it where it has failed."""
        found = self.found(node)
        if found == DONE:
            return DONE
        job = self.job(rule, wildcards)
        if job:
            return _state_of(job)
        if found == STALE:
            return PENDING  # its log is that of the run that made it
        log = self.log(rule, wildcards)
        if not log.is_file():
            return PENDING
        says = last_words(log)
        if self._may_run(rule) and not _FATAL.search(says):
            return RUNNING
        return self.note(rule, wildcards, log, says, "")

    def _may_run(self, rule: str) -> bool:
        """Tell whether a job with a log and without output can be one that runs.

        A job of an array or a group is not named by its comment; then any job of its rule may be it.
        """
        here = [job.comment for job in self._jobs.values() if _state_of(job) == RUNNING]
        if here and rule in STAGES:
            return any(comment.startswith(f"rule_{rule}") for comment in here)
        return self._snakemake

    def log(self, rule: str, wildcards: tuple[str, ...]) -> Path:
        """Return where a job's log lies."""
        folder = self.results / "logs"
        return folder / rule / f"{'-'.join(wildcards)}.log" if wildcards else folder / f"{rule}.log"

    def note(self, rule: str, wildcards: tuple[str, ...], log: Path, says: str, slurm: str) -> str:
        """Keep a problem; return its state."""
        state = STOPPED if says.endswith("run again to go on") else FAILED
        job = f"{rule} {wildcards[0]}, block {wildcards[1]}" if rule in STAGES else " ".join((rule, *wildcards))
        self.problems.append(Problem(job, state, str(log), says or "nothing: it was killed", slurm))
        return state


_FATAL = re.compile(r"^induction:|Error\b|error:|Exception|[Kk]illed")
"""What a line says that ends a job."""


def _state_of(job: SlurmJob) -> str:
    return RUNNING if job.state in _UNDER_WAY else QUEUED


def _model_status(model: Model, seen: _Seen) -> ModelStatus:
    folder = seen.results / "models" / model.name
    n_blocks = len(model.blocks)
    trained = [seen.found(Node("train", model.name, block)) == DONE for block in range(n_blocks)]
    before, progress = _last_rows(folder / PROGRESS)
    silent = max(0.0, seen.now - progress["time"]) if progress else None
    training = DONE if all(trained) else _training(model, trained.index(False), before, progress, seen)
    under_way = training in (RUNNING, STALLED)
    stages = {"train": StageStatus(sum(trained), n_blocks, int(under_way), int(training in (FAILED, STOPPED)))}
    for stage in STAGES[1:]:
        states = [seen.of(stage, (model.name, str(block)), Node(stage, model.name, block)) for block in range(n_blocks)]
        stages[stage] = StageStatus(states.count(DONE), n_blocks, states.count(RUNNING), states.count(FAILED))
    left = None
    if training == RUNNING and progress and progress["tokens_per_second"] > 0:
        left = (model.tokens_at(model.fields.n_steps) - progress["tokens"]) / progress["tokens_per_second"]
    places = [(stage, (model.name, str(block))) for stage in STAGES for block in range(n_blocks)]
    jobs = tuple(job for stage, place in places if (job := seen.job(stage, place)))
    return ModelStatus(model.name, stages, training, model.fields.n_steps, progress, silent, left, jobs)


def _training(
    model: Model, block: int, before: dict[str, Any] | None, progress: dict[str, Any] | None, seen: _Seen
) -> str:
    """Return the state of the block that is to be trained next; note it where it has failed."""
    place = (model.name, str(block))
    log, holder = seen.log("train", place), _holder(seen.results / "models" / model.name / ".lock")
    job = seen.job("train", place)
    if job and _state_of(job) == QUEUED:
        return QUEUED
    own = progress if progress and progress["block"] == f"block-{block}" else None
    alive = True if job else _is_alive(holder, seen.slurm)
    silence = seen.now - own["time"] if own else None
    if silence is not None and own:
        gap = own["time"] - before["time"] if before and before["block"] == own["block"] else 0.0
        patience = max(_SILENT_SECONDS, _SILENT_LINES * gap)
        if alive is not False and silence <= patience:
            return RUNNING
        if alive is not False and not last_words(log).startswith("induction:"):
            return STALLED
    elif alive:
        return RUNNING
    if not log.is_file() and own is None:
        return PENDING
    return seen.note("train", place, log, last_words(log), seen.slurm.ended.get(_number(holder), ""))


def _holder(lock: Path) -> dict[str, Any]:
    """Return who trains a model, or trained it last: host, pid and, of a job of SLURM, its number."""
    try:
        holder = json.loads(lock.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(holder, dict):
        return {}
    pid, job = holder.get("pid"), holder.get("slurm_job")
    return {
        "host": holder.get("host"),
        "pid": pid if type(pid) is int and 0 < pid < _PIDS else None,  # 0 and less mean groups of processes
        "slurm_job": str(job) if re.fullmatch(r"[0-9_]{1,20}", str(job)) else None,
    }


_PIDS = 1 << 31


def _number(holder: Mapping[str, Any]) -> str:
    return str(holder.get("slurm_job") or "")


def _is_alive(holder: Mapping[str, Any], slurm: Slurm) -> bool | None:
    """Tell whether the process that holds a model's lock, or held it last, still runs; None where nobody knows."""
    if holder.get("host") == socket.gethostname() and isinstance(holder.get("pid"), int):
        try:
            os.kill(holder["pid"], 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
    if _number(holder) and slurm.known:
        return any(job.number == _number(holder) for job in slurm.jobs)
    return None


def _last_rows(path: Path) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return the last two lines of a progress file that are as training writes them."""
    before, last = ([None, None, *progress_rows(_tail(path))])[-2:]
    return before, last


def last_words(log: Path) -> str:
    """Return the line of a log that says best how it ended: the last of this package's own, or the last with words."""
    lines = [_COLOURS.sub("", line).strip() for line in re.split(r"[\r\n]+", _tail(log))]
    own = [line for line in lines if line.startswith("induction:")]
    wordy = [line for line in lines if re.search(r"[A-Za-z]{2}", line)]
    return (own or wordy or [""])[-1]


_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


# --- SLURM ------------------------------------------------------------------------------------------------------------


def ask_slurm(results: Path, models: Iterable[str]) -> Slurm:
    """Return what squeue and, of the jobs that trained models last, sacct tell; nothing where they are not there.

    Args:
        results: the study's folder `results`.
        models: names of its models.
    """
    listed = _run("squeue", "--noheader", "--user", str(os.getuid()), "--format", "%A|%T|%Z|%r|%k")
    if listed is None:
        return Slurm()
    jobs = []
    for line in listed.splitlines():
        number, state, folder, reason, comment = (line.split("|", 4) + [""] * 5)[:5]
        jobs.append(SlurmJob(number, state, comment, folder, reason))
    holders = [_holder(results / "models" / name / ".lock") for name in models]
    numbers = {str(holder["slurm_job"]) for holder in holders if holder.get("slurm_job")} - {job.number for job in jobs}
    ended = {}
    if numbers:
        told = _run(
            "sacct", "-X", "--noheader", "--parsable2", "--jobs", ",".join(sorted(numbers)), "--format=JobID,State"
        )
        for line in (told or "").splitlines():
            number, _, state = line.partition("|")
            if state.split(" ")[0] in _ENDED_BADLY:
                ended[number] = state
    return Slurm(tuple(jobs), ended, known=True)


def _run(command: str, *arguments: str) -> str | None:
    """Return what a command prints; None where there is none, or it fails or does not answer."""
    if shutil.which(command) is None:
        return None
    try:
        done = subprocess.run(
            [command, *arguments], capture_output=True, text=True, timeout=_SLURM_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None


# --- telling it -------------------------------------------------------------------------------------------------------


def show(study: Study, results: Path, *, in_json: bool = False, every: float | None = None) -> None:
    """Print the status of a study, once or every so many seconds until Ctrl-C.

    Raises:
        InductionError: `every` is no time that one can wait.
    """
    if every is not None and not (math.isfinite(every) and every > 0):
        raise InductionError(
            f"--watch: {every:g}: no number of seconds to wait. Permitted: above 0, such as 60; without --watch the "
            "status is told once."
        )
    try:
        while True:
            told = status(study, results, ask_slurm(results, study.models))
            text = as_json(told) if in_json else as_text(told)
            if every is not None and sys.stdout.isatty():
                text = f"\x1b[H\x1b[2J{text}"  # over the last one
            print(text, flush=True)
            if every is None:
                return
            time.sleep(every)
    except KeyboardInterrupt:
        pass


def as_json(told: StudyStatus) -> str:
    """Return all of it as JSON."""
    return json.dumps(asdict(told), indent=1, ensure_ascii=False)


_HEAD = ("model", *STAGES, "training", "tokens", "tok/s", "left", "loss", "prefix m.", "ICL", "phase change")
_RIGHT = {*STAGES, "tokens", "tok/s", "left", "loss"}
_PROBLEMS_SHOWN = 8


def as_text(told: StudyStatus) -> str:
    """Return it as a table for people: a line a model, then what has failed, then what is of the whole study."""
    rows = [_HEAD, *(_row(model) for model in told.models)]
    shown = [column for column in zip(*rows, strict=True) if any(column[1:])]
    jobs = ["SLURM", *(_jobs_told(model.slurm_jobs) for model in told.models)]
    if any(jobs[1:]):
        shown.append(tuple(jobs))
    padded = []
    for column in shown:
        width = max(map(len, column))
        padded.append([cell.rjust(width) if column[0] in _RIGHT else cell.ljust(width) for cell in column])
    lines = ["  ".join(line).rstrip() for line in zip(*padded, strict=True)]
    lines += ["", "blocks done/all, + running, ! failed; prefix matching of the best head (layer.head); ICL in nats"]
    for problem in told.problems[:_PROBLEMS_SHOWN]:
        ended = f" (SLURM: {problem.slurm})" if problem.slurm else ""
        lines += [f"{problem.state}: {problem.job}{ended}: {problem.says}", f"    {problem.log}"]
    if (more := len(told.problems) - _PROBLEMS_SHOWN) > 0:
        lines.append(f"and {more} more; --json tells all")
    corpora = ", ".join(f"{name} {state}" for name, state in told.corpora.items())
    done, of = told.figures
    lines.append(f"corpora: {corpora}; figures: {done}/{of}; report: {told.report}")
    return "\n".join(lines)


def _row(model: ModelStatus) -> tuple[str, ...]:
    blocks = [
        f"{stage.done}/{stage.of}"
        + (f"+{stage.running}" if stage.running else "")
        + (f"!{stage.failed}" if stage.failed else "")
        for stage in model.stages.values()
    ]
    row = model.progress
    if row is None:
        return (model.name, *blocks, model.training, "", "", "", "", "", "", "")
    look = row["look"] or {}
    if not look.keys() >= _LOOKED_AT:  # of another watch
        look = {}
    state = model.training
    if state == STALLED and model.silent_seconds is not None:
        state += f" {duration(model.silent_seconds)}"
    if state != DONE:
        state += f" {row['step']:,}/{model.last_step:,}"
    running = model.training == RUNNING
    seen = look.get("phase_change", "")
    if "since_tokens" in look:
        seen += f", {count(look['since_tokens'])}"
    return (
        model.name,
        *blocks,
        state,
        count(row["tokens"]),
        count(row["tokens_per_second"]) if running else "",
        duration(model.seconds_left) if model.seconds_left is not None else "",
        f"{row['loss']:.3f}",
        f"{look['prefix_matching']:.2f} ({look['prefix_matching_layer']}.{look['prefix_matching_head']})"
        if look
        else "",
        f"{look['icl']:+.2f} ± {look['icl_se']:.2f}" if look else "",
        seen,
    )


_LOOKED_AT = {"prefix_matching", "prefix_matching_layer", "prefix_matching_head", "icl", "icl_se"}


def _jobs_told(jobs: tuple[SlurmJob, ...]) -> str:
    told = [f"{job.number} {job.state}" + (f" ({job.reason})" if job.state == "PENDING" else "") for job in jobs[:1]]
    return ", ".join(told) + (f" and {len(jobs) - 1} more" if len(jobs) > 1 else "")


def count(number: float) -> str:
    """Return a number in three digits or so: 950, 2.56M, 10.5B."""
    for least, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * least:  # else 999,999 were 1e+03k
            return f"{number / least:.3g}{letter}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """Return a time in its two greatest units or so: 45 s, 12 min, 3.4 h, 2.1 d."""
    for least, unit in ((86_400.0, "d"), (3600.0, "h")):
        if seconds >= least:
            return f"{seconds / least:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
