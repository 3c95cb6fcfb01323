"""Train one block of a model: from the state of the block before to this block's snapshots, manifest and table."""

import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the field's name for it)
from numpy.typing import NDArray

from induction.errors import InductionError
from induction.files import fingerprint
from induction.identity import job_identity
from induction.models.snapshots import write_block
from induction.models.tensor_files import tensor_writer
from induction.models.transformer import Transformer
from induction.study.architecture import Architecture
from induction.study.schedule import Schedule
from induction.tables.training import TRAINING
from induction.train.engine import Engine
from induction.train.order import DataOrder
from induction.train.plain import PlainEngine
from induction.train.ranks import Ranks
from induction.train.reporting import Reporter, Watch
from induction.train.states import Progress, States
from induction.train.stopping import LIMIT, Stop, alone, queue_again, stop_asked
from induction.train.zero import ZeroEngine

_ENTRY = ("step", "tokens", "file", "sha256")


class Tokens(Protocol):
    """Training tokens in the order of the shards; `induction.corpus` has one."""

    @property
    def n_train_tokens(self) -> int:
        """How many there are."""
        ...

    @property
    def training_fingerprint(self) -> str:
        """What identifies them; held-out documents that are dropped do not change it."""
        ...

    def verify(self, part: int, n_parts: int) -> None:
        """See that one of so many parts of them is what was written; reads all of it."""
        ...

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return tokens `start` to `stop`, [token]."""
        ...


@dataclass(frozen=True)
class HowToTrain:
    """What decides how fast and where a model is trained, and its weights up to rounding alone.

    The recipe does not know of it: another machine trains nothing again.
    """

    engine: Literal["plain", "deepspeed"] = "plain"
    zero_stage: int = 0
    micro_batch: int | None = None
    """Sequences that a rank has in memory at once; None: its whole share of the batch."""
    checkpoint_activations: bool = False
    state_minutes: float | None = None
    """Minutes from one saved state to the next, besides those at snapshots; None: none besides."""


def train(
    recipe: dict[str, Any],
    tokens: Tokens,
    manifest: Path,
    table: Path,
    *,
    tokens_needed: int,
    how: HowToTrain | None = None,
    ranks: Ranks | None = None,
    watch: Watch | None = None,
    stop: Stop | None = None,
) -> None:
    """Train a block, or finish it where a killed job left off.

    Args:
        recipe: the block's recipe (`Model.recipe` of the study).
        tokens: the corpus.
        manifest: `block-B.json` to write, last of all; snapshots and states lie beside it.
        table: the part of the table `training` to write.
        tokens_needed: how many training tokens the corpus must hold for the whole training, seen to beforehand.
        how: the engine and how it shares out memory; default: the plain one.
        ranks: those that train together, each of which calls this; default: this process alone.
        watch: looks at the model now and then.
        stop: what signals have asked so far; default: they are listened to from here on.

    Raises:
        InductionError: the corpus is too short, the loss or a weight is not finite, or the disk is full.
        SystemExit: after SIGTERM, SIGINT or SIGUSR1, with the state saved.
    """
    how, ranks = how or HowToTrain(), ranks or Ranks()
    architecture = Architecture.model_validate(recipe["architecture"])
    settings, steps = recipe["settings"], recipe["steps"]
    schedule = Schedule(settings)
    _see_that_tokens_suffice(tokens, tokens_needed, schedule, architecture.n_ctx, settings["corpus"])
    identity = fingerprint(
        [recipe["training_version"], recipe["architecture"], {**settings, "corpus": tokens.training_fingerprint}]
    )
    states = States(manifest.parent, identity, ranks)
    order = DataOrder((tokens.n_train_tokens - 1) // architecture.n_ctx, settings["seed"])
    data = _Data(tokens, order, schedule, architecture.n_ctx)
    with nullcontext(stop) if stop else stop_asked() as signals, alone(manifest.parent, ranks, signals):
        resumed = states.latest(recipe["start"], steps)
        tokens.verify(ranks.rank, ranks.n_ranks)  # together the ranks read all of them, each a part
        engine = _engine(how, architecture, settings, ranks, fresh=resumed is None)
        progress, kept = resumed or Progress(0, recipe["start"]), -1
        if resumed:
            kept = resumed.step
            states.load(kept, engine)
        kept_at = time.monotonic()
        about = {"architecture": recipe["architecture"], "identity": identity}
        with Reporter(manifest, progress.step, steps[-1], speaks=ranks.first, watch=watch) as reporter:
            while True:
                if progress.step == steps[-1] and progress.step:
                    _see_that_the_loss_is_finite(engine, progress.step, settings, data, ranks)
                is_snapshot = progress.step in set(steps) - {entry["step"] for entry in progress.snapshots}
                if is_snapshot:
                    n_tokens = data.tokens_before(progress.step)
                    progress.snapshots.append(
                        _keep_snapshot(engine, progress.step, n_tokens, about, settings, manifest, ranks)
                    )
                late = how.state_minutes is not None and time.monotonic() - kept_at > 60 * how.state_minutes
                asked, due = divmod(ranks.greatest(2 * signals.asked + late), 2)  # of all ranks, in one exchange
                if is_snapshot or ((asked or due) and kept != progress.step):
                    states.save(progress, engine)
                    kept, kept_at = progress.step, time.monotonic()
                    # The state of step 0 too: what it holds is drawn again.
                    states.forget(recipe["start"] or -1, steps[-1], keep=[kept])
                if progress.step == steps[-1]:
                    break
                if asked:
                    if ranks.first:
                        print(f"{manifest.stem}: stopped at step {progress.step}; run again to go on", file=sys.stderr)
                    if asked == LIMIT:
                        queue_again(ranks)
                    raise SystemExit(128 + asked)
                _step(engine, progress, settings, schedule, data, watch, reporter)
        if ranks.first:
            _write(progress, recipe, identity, tokens.training_fingerprint, manifest, table)
        ranks.wait()


class _Data:
    """The training tokens as the steps read them."""

    def __init__(self, tokens: Tokens, order: DataOrder, schedule: Schedule, n_ctx: int) -> None:
        self._tokens, self._order, self._schedule, self._n_ctx = tokens, order, schedule, n_ctx

    def tokens_before(self, step: int) -> int:
        """Return how many training tokens the first `step` steps read."""
        return self._schedule.sequences_before(step) * self._n_ctx

    def read(self, step: int, engine: Engine) -> torch.Tensor:
        """Return an engine's share of a step's sequences: n_ctx tokens each and the one after them, [B, n_ctx + 1]."""
        share = engine.share(self._schedule.batch_size_at(step))
        sequences = self._order.sequences(self._schedule.sequences_before(step) + share)
        n_ctx = self._n_ctx
        rows = [self._tokens.read(int(i) * n_ctx, (int(i) + 1) * n_ctx + 1) for i in sequences]
        return torch.from_numpy(np.stack(rows))


def _engine(
    how: HowToTrain, architecture: Architecture, settings: dict[str, Any], ranks: Ranks, *, fresh: bool
) -> Engine:
    if how.engine == "deepspeed":
        shared = (how.zero_stage, how.micro_batch, how.checkpoint_activations)
        return ZeroEngine(architecture, settings, ranks, *shared, fresh=fresh)
    if ranks.n_ranks > 1:
        raise InductionError(
            f"engine: the plain engine trains in one process, not on {ranks.n_ranks} ranks; deepspeed does"
        )
    return PlainEngine(architecture, settings, ranks.device, how.micro_batch)


def _keep_snapshot(
    engine: Engine,
    step: int,
    tokens: int,
    about: dict[str, Any],
    settings: dict[str, Any],
    manifest: Path,
    ranks: Ranks,
) -> dict[str, Any]:
    """Write a snapshot tensor by tensor; every rank takes part in bringing them together, the first one writes.

    Raises:
        InductionError: a weight is not finite.
    """
    file = Path("snapshots") / f"step-{step:08d}.safetensors"
    if ranks.first:
        with tensor_writer(manifest.parent / file, engine.shapes(), {**about, "step": step}) as writer:
            for name, tensor in engine.weights():
                if not torch.isfinite(tensor).all():
                    raise _diverged(f"after step {step} the weights {name} are not finite", settings)
                writer.append(name, tensor)
    else:
        for _ in engine.weights():
            pass
    # The others need not know the hash: they write no manifest, and a state's are those that the first one wrote.
    sha256 = writer.sha256 if ranks.first else ""
    return {"step": step, "tokens": tokens, "file": file.as_posix(), "sha256": sha256}


def _step(
    engine: Engine,
    progress: Progress,
    settings: dict[str, Any],
    schedule: Schedule,
    data: _Data,
    watch: Watch | None,
    reporter: Reporter,
) -> None:
    step, began = progress.step, time.perf_counter()
    rate = schedule.rate_at(step)
    result = engine.step(data.read(step, engine), rate, schedule.weight_decay_at(step))
    if not np.isfinite(result.loss):
        raise _diverged(f"the loss of step {step} is {result.loss}", settings)
    tokens, after = data.tokens_before(step), data.tokens_before(step + 1)
    speed = (after - tokens) / (time.perf_counter() - began)
    if step >= progress.block_start:
        progress.rows.append(
            {
                "step": step,
                "tokens": tokens,
                "loss": result.loss,
                "gradient_norm": result.gradient_norm,
                "learning_rate": settings["learning_rate"] * rate,
                "tokens_per_second": speed,
            }
        )
    progress.step += 1
    seen = engine.look(watch.look) if watch and progress.step % watch.every == 0 else None
    reporter.show(progress.step, after, result.loss, speed, seen)


def _see_that_the_loss_is_finite(
    engine: Engine, step: int, settings: dict[str, Any], data: _Data, ranks: Ranks
) -> None:
    """Refuse weights whose loss is no number; that of a step is known before it, and none follows the last one.

    The loss is that of one sequence of the last batch, of each rank. It changes nothing.

    Raises:
        InductionError: it is not finite.
    """
    tokens_BT = data.read(step - 1, engine)[:1].to(ranks.device)

    def loss_of(model: Transformer) -> float:
        logits_BTV = model(tokens_BT[:, :-1])
        return F.cross_entropy(logits_BTV.float().flatten(0, 1), tokens_BT[:, 1:].flatten()).item()

    loss = ranks.mean(engine.look(loss_of))
    if not np.isfinite(loss):
        raise _diverged(f"the loss after step {step} is {loss}", settings)


def _diverged(what: str, settings: dict[str, Any]) -> InductionError:
    return InductionError(
        f"training diverged: {what}. "
        f"Lower learning_rate ({settings['learning_rate']}) or muon_learning_rate, or raise warmup_steps."
    )


def _write(progress: Progress, recipe: dict[str, Any], identity: str, corpus: str, manifest: Path, table: Path) -> None:
    with TRAINING.writer(table, recipe=identity, corpus=corpus) as rows:
        if progress.rows:
            rows.append({name: [row[name] for row in progress.rows] for name in progress.rows[0]})
    write_block(
        manifest,
        recipe["architecture"],
        recipe=fingerprint(recipe),
        identity=identity,
        job=job_identity(),
        corpus=corpus,
        # In this order, whether they come from this process or from a state: the same bytes whatever was resumed.
        snapshots=[{name: entry[name] for name in _ENTRY} for entry in progress.snapshots],
    )


def _see_that_tokens_suffice(tokens: Tokens, needed: int, schedule: Schedule, n_ctx: int, corpus: str) -> None:
    available = tokens.n_train_tokens
    if available < needed:
        n_steps = schedule.steps_within((available - 1) // n_ctx)
        raise InductionError(
            f"corpus {corpus} holds {available:,} training tokens; training would read {needed:,} and repeat some. "
            f"Lower n_steps to {n_steps:,} an epoch, raise epochs, or bring more text "
            "(sources with weights may leave text unused: n_unused_tokens in the corpus's manifest)."
        )
