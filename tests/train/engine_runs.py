"""One recipe trained in many ways: what the tests of the engines and the ranks that they start share."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch

from induction.corpus.build import corpus
from induction.corpus.shards import open_corpus
from induction.models.transformer import Transformer
from induction.study.config import ModelFields
from induction.study.corpora import Corpus, Source
from induction.study.study import Model
from induction.train.loop import HowToTrain, train
from induction.train.ranks import Ranks

VOCAB_SIZE = 300
N_STEPS = 50
FIELDS: dict[str, Any] = {
    "n_layers": 2,
    "d_model": 32,
    "n_heads": 2,
    "d_mlp": 64,
    "n_ctx": 32,
    "smeared_keys": True,
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "gradient_clip": 0.6,
    "weight_decay": 0.3,
    "weight_decay_changes": [{"step": 25, "weight_decay": 1.0}],
    "warmup_steps": 5,
    "rate_decay": {"shape": "cosine", "start": 15, "stop": 45, "to": 0.2},
    "batch_size": 4,
    "batch_growth": [{"step": 13, "batch_size": 8}],
    "n_steps": N_STEPS,
    "snapshots": [{"every": 10}],
}
SCRIPT = Path(__file__).with_name("train_cases.py")
_PATIENCE_SECONDS = 300


@dataclass(frozen=True)
class Case:
    """One training: where, what and how; and how often it is looked at, and which rank is sent which signal then."""

    folder: str
    fields: dict[str, Any] = field(default_factory=dict)
    how: dict[str, Any] = field(default_factory=dict)
    look_every: int = 10
    signal: int = 0
    after_looks: int = 0
    to_rank: int = 0

    @property
    def recipe(self) -> dict[str, Any]:
        fields = ModelFields(**{**FIELDS, **self.fields})
        return Model("tiny", "tiny", "tiny", fields, VOCAB_SIZE).recipe(0)

    @property
    def manifest(self) -> Path:
        return Path(self.folder) / "block-0.json"

    @property
    def table(self) -> Path:
        return Path(self.folder) / "model=tiny" / "block-0.parquet"


class Onlooker:
    """Runs the model now and then, as a measurement does, and sends this process the signal of a case."""

    def __init__(self, case: Case, ranks: Ranks) -> None:
        self.every = case.look_every
        self.seen: list[float] = []
        self._case, self._ranks = case, ranks
        self._tokens_BT = torch.arange(64).reshape(2, 32)

    def look(self, model: Transformer) -> dict[str, float]:
        self.seen.append(model(self._tokens_BT).float().square().mean().item())
        case = self._case
        if case.signal and len(self.seen) == case.after_looks and self._ranks.rank == case.to_rank:
            signal.raise_signal(case.signal)
        return {"mean_square": self.seen[-1]}

    def told(self, look: Mapping[str, float]) -> str:
        return f"mean square {look['mean_square']:.3f}"

    def phase_change(self, looks: Sequence[Mapping[str, float]]) -> tuple[str, None]:
        return "not looked for", None


def run(case: Case, manifest: Path, ranks: Ranks) -> dict[str, Any]:
    """Train a case; return the exit status and what the onlooker saw."""
    onlooker, how = Onlooker(case, ranks), HowToTrain(**case.how)
    where = open_corpus(manifest.parent), case.manifest, case.table
    try:
        train(case.recipe, *where, tokens_needed=0, how=how, ranks=ranks, watch=onlooker)
    except SystemExit as stopped:
        return {"status": stopped.code, "seen": onlooker.seen}
    return {"status": 0, "seen": onlooker.seen}


def make_corpus(folder: Path) -> Path:
    """Write text of words drawn at random, about 40,000 tokens; return the corpus's manifest."""
    generator = random.Random(0)
    words = ["".join(generator.choices("abcdefghij", k=generator.randint(2, 7))) for _ in range(400)]
    for index in range(60):
        (folder / f"{index}.txt").write_text(" ".join(generator.choices(words, k=300)), encoding="utf-8")
    corpus(Corpus(sources=(Source(files=str(folder / "*.txt")),), vocab_size=VOCAB_SIZE), "tiny", folder / "corpus")
    return folder / "corpus" / "manifest.json"


def command(case: Case, manifest: Path, *options: str, tokens_needed: int = 0) -> list[str]:
    """Return the command that trains a case."""
    return [
        *("-m", "induction", "train", str(manifest), "--recipe", json.dumps(case.recipe)),
        *("--tokens-needed", str(tokens_needed), "--out", str(case.manifest), "--table", str(case.table), *options),
    ]


@contextmanager
def started(n_ranks: int, arguments: list[str], log: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Start ranks as srun does, a process each, told apart by their environment; none outlives the test.

    What rank R says lies in `LOG.R`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"WORLD_SIZE": str(n_ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = []
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        for rank in range(n_ranks):
            own = {**together, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            with Path(f"{log}.{rank}").open("w", encoding="utf-8") as said:
                processes.append(_popen([sys.executable, *arguments], said, own))
        yield processes
    finally:
        end(processes)


@contextmanager
def torchrun(n_ranks: int, arguments: list[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """Start ranks by torchrun; none outlives the test."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n_ranks)]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as said:
        process = _popen([*launcher, *arguments], said, {})
    try:
        yield process
    finally:
        end([process])


def _popen(arguments: list[str], said: Any, environment: dict[str, str]) -> subprocess.Popen[str]:
    # A test that runs inside a SLURM job must not queue that job again.
    outer = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    settings = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    return subprocess.Popen(arguments, stdout=said, stderr=said, text=True, env={**outer, **settings, **environment})


def end(processes: list[subprocess.Popen[str]]) -> None:
    """Kill processes and all that they started."""
    for process in processes:
        if process.poll() is None:
            for one in (*psutil.Process(process.pid).children(recursive=True), process):
                one.kill()
        process.wait()


def train_on_ranks(n_ranks: int, cases: dict[str, Case], manifest: Path, log: Path) -> dict[str, tuple[Any, ...]]:
    """Train cases one after the other on the same ranks; return each case and its outcome on each rank, by name."""
    told = json.dumps([asdict(case) for case in cases.values()])
    with started(n_ranks, [str(SCRIPT), str(manifest), str(log), told], log) as processes:
        statuses = [process.wait(timeout=_PATIENCE_SECONDS) for process in processes]
    assert statuses == [0] * n_ranks, [Path(f"{log}.{rank}").read_text(encoding="utf-8") for rank in range(n_ranks)]
    outcomes = [json.loads(Path(f"{log}.{rank}.json").read_text(encoding="utf-8")) for rank in range(n_ranks)]
    return dict(zip(cases, zip(cases.values(), *outcomes, strict=True), strict=True))
