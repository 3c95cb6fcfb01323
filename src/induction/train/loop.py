"""Train one block of a model: from the state of the block before to this block's snapshots, manifest and table."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from induction.errors import InductionError
from induction.files import fingerprint, sha256_file, write_json
from induction.models.snapshots import write_tensors
from induction.study.architecture import Architecture
from induction.tables.training import TRAINING
from induction.train.engine import Engine
from induction.train.order import DataOrder
from induction.train.plain import PlainEngine
from induction.train.states import Progress, States

_PLAIN_LINE_SECONDS = 15.0


class Tokens(Protocol):
    """Training tokens in the order of the shards; `induction.corpus` has one."""

    @property
    def n_train_tokens(self) -> int:
        """How many there are."""
        ...

    @property
    def fingerprint(self) -> str:
        """What identifies them."""
        ...

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return tokens `start` to `stop`, [token]."""
        ...


def train(recipe: dict[str, Any], tokens: Tokens, manifest: Path, table: Path, *, tokens_needed: int) -> None:
    """Train a block, or finish it where a killed job left off.

    Args:
        recipe: the block's recipe (`Model.recipe` of the study).
        tokens: the corpus.
        manifest: `block-B.json` to write, last of all; snapshots and states lie beside it.
        table: the part of the table `training` to write.
        tokens_needed: how many training tokens the corpus must hold for the whole training, seen to beforehand.

    Raises:
        InductionError: the corpus is too short, the loss is no number any more, or the disk is full.
        SystemExit: after SIGTERM or SIGINT, with the state saved.
    """
    architecture = Architecture.model_validate(recipe["architecture"])
    settings = recipe["settings"]
    last = recipe["steps"][-1]
    tokens_a_step = settings["batch_size"] * architecture.n_ctx
    _see_that_tokens_suffice(tokens, tokens_needed, tokens_a_step, settings["corpus"])
    order = DataOrder((tokens.n_train_tokens - 1) // architecture.n_ctx, settings["batch_size"], settings["seed"])
    identity = fingerprint(
        [recipe["training_version"], recipe["architecture"], {**settings, "corpus": tokens.fingerprint}]
    )
    states = States(manifest.parent, identity)
    engine: Engine = PlainEngine(architecture, settings, "cuda" if torch.cuda.is_available() else "cpu")
    progress = Progress(0, recipe["start"])
    if resumed := states.latest(recipe["start"], recipe["steps"]):
        progress, state = resumed
        engine.load_state(state)

    with _stop_asked() as stop, _Reporter(manifest.stem, progress.step, last) as reporter:
        while True:
            written = {entry["step"] for entry in progress.snapshots}
            if progress.step in set(recipe["steps"]) - written:
                about = {"architecture": recipe["architecture"], "step": progress.step, "identity": identity}
                file = Path("snapshots") / f"step-{progress.step:08d}.safetensors"
                write_tensors(manifest.parent / file, engine.weights(), about)
                progress.snapshots.append(
                    {
                        "step": progress.step,
                        "tokens": progress.step * tokens_a_step,
                        "file": file.as_posix(),
                        "sha256": sha256_file(manifest.parent / file),
                    }
                )
                states.save(progress, engine.state())
                states.forget(recipe["start"], last, keep=[progress.step])
            if progress.step == last:
                break
            if stop.asked:
                states.save(progress, engine.state())
                print(f"{manifest.stem}: stopped at step {progress.step}; run again to go on", file=sys.stderr)
                raise SystemExit(128 + stop.asked)
            _step(engine, progress, settings, order, tokens, architecture.n_ctx, reporter)

    with TRAINING.writer(table, recipe=identity, corpus=tokens.fingerprint) as rows:
        if progress.rows:
            rows.append({name: [row[name] for row in progress.rows] for name in progress.rows[0]})
    write_json(
        manifest,
        {
            "architecture": recipe["architecture"],
            "recipe": fingerprint(recipe),
            "identity": identity,
            "corpus": tokens.fingerprint,
            "snapshots": progress.snapshots,
        },
    )


def _step(
    engine: Engine,
    progress: Progress,
    settings: dict[str, Any],
    order: DataOrder,
    tokens: Tokens,
    n_ctx: int,
    reporter: "_Reporter",
) -> None:
    began = time.perf_counter()
    batch_BT = torch.from_numpy(_sequences(tokens, order.sequences_at(progress.step), n_ctx))
    rate = min(1.0, (progress.step + 1) / max(1, settings["warmup_steps"]))
    result = engine.step(batch_BT, rate)
    if not np.isfinite(result.loss):
        raise InductionError(
            f"training diverged: the loss of step {progress.step} is {result.loss}. "
            f"Lower learning_rate ({settings['learning_rate']}) or muon_learning_rate, or raise warmup_steps."
        )
    n_tokens = settings["batch_size"] * n_ctx
    speed = n_tokens / (time.perf_counter() - began)
    if progress.step >= progress.block_start:
        progress.rows.append(
            {
                "step": progress.step,
                "tokens": progress.step * n_tokens,
                "loss": result.loss,
                "gradient_norm": result.gradient_norm,
                "learning_rate": settings["learning_rate"] * rate,
                "tokens_per_second": speed,
            }
        )
    progress.step += 1
    reporter.show(progress.step, result.loss, speed)


def _see_that_tokens_suffice(tokens: Tokens, needed: int, tokens_a_step: int, corpus: str) -> None:
    available = tokens.n_train_tokens
    if available < needed:
        raise InductionError(
            f"corpus {corpus} holds {available:,} training tokens; training would read {needed:,} and repeat some. "
            f"Lower n_steps to {(available - 1) // tokens_a_step:,} an epoch, raise epochs, or bring more text "
            "(sources with weights may leave text unused: n_unused_tokens in the corpus's manifest)."
        )


def _sequences(tokens: Tokens, sequences: NDArray[np.int64], n_ctx: int) -> NDArray[np.int64]:
    """Return n_ctx tokens each and the one after them, [batch, n_ctx + 1]."""
    return np.stack([tokens.read(int(i) * n_ctx, (int(i) + 1) * n_ctx + 1) for i in sequences])


class _Stop:
    asked = 0
    """Number of the signal that asked to stop."""

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        self.asked = number


@contextmanager
def _stop_asked() -> Iterator[_Stop]:
    """While inside, SIGTERM and SIGINT (Ctrl-C) ask to stop after the step at hand."""
    stop = _Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Reporter:
    """A progress bar in a terminal; elsewhere a line now and then."""

    def __init__(self, name: str, first: int, last: int) -> None:
        self._name, self._first, self._last = name, first, last
        self._bar = tqdm(total=last, initial=first, desc=name, unit="step", disable=not sys.stderr.isatty())
        self._began = self._spoke = time.monotonic()

    def __enter__(self) -> "_Reporter":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, step: int, loss: float, speed: float) -> None:
        """Say where training is: `loss` in nats, `speed` in tokens a second."""
        if not self._bar.disable:
            self._bar.set_postfix_str(f"loss {loss:.3f}, {speed:,.0f} tokens/s", refresh=False)
            self._bar.update(1)
        elif step == self._last or time.monotonic() - self._spoke > _PLAIN_LINE_SECONDS:
            left = (time.monotonic() - self._began) / (step - self._first) * (self._last - step)
            place = f"{self._name}: step {step}/{self._last}"
            print(f"{place}, loss {loss:.3f}, {speed:,.0f} tokens/s, {left:.0f} s left", file=sys.stderr, flush=True)
            self._spoke = time.monotonic()
