"""States: what training goes on from, after a block or in the middle of one.

A state is the engine's weights and moments, whole and by name, in a file, or in a file of each rank; so any engine goes
on from it on any number of ranks.
"""

import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from induction.errors import InductionError, UnreadableError
from induction.files import cannot_read, remove_abandoned, sha256_file
from induction.models.tensor_files import SEAL, check_seal, open_tensors, tensor_writer
from induction.train.engine import Engine
from induction.train.ranks import Ranks

_FORMAT = 3
_UNSEALED = 2
"""The format of earlier versions, without a hash: read as it stands."""
_NAME = re.compile(r"state-(\d{8})(?:-\d+-of-\d+)?\.safetensors")


@dataclass
class Progress:
    """How far a block has come: the step, and what it has yet to say in its manifest and its table."""

    step: int
    block_start: int
    snapshots: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, float]] = field(default_factory=list)


class States:
    """The states of one model, `state-STEP.safetensors` in its folder, or a part of each rank.

    Args:
        folder: the model's folder.
        identity: fingerprint of all that its weights depend on; states of another identity are not looked at.
        ranks: those that write a state together.
    """

    def __init__(self, folder: Path, identity: str, ranks: Ranks) -> None:
        self._folder = folder
        self._identity = identity
        self._ranks = ranks

    def save(self, progress: Progress, engine: Engine) -> None:
        """Keep a state; every rank writes its part of the tensors."""
        rank, n_ranks = self._ranks.rank, self._ranks.n_ranks
        about: dict[str, Any] = {
            "format": _FORMAT,
            "identity": self._identity,
            "step": progress.step,
            "block_start": progress.block_start,
            "part": rank,
            "n_parts": n_ranks,
        }
        if self._ranks.first:
            about |= {"snapshots": progress.snapshots, "rows": progress.rows}
        if n_ranks > 1:  # parts of two savings of one step must not be taken for one state
            about["saving"] = self._ranks.greatest(time.time_ns() if self._ranks.first else 0)
        names = [
            f"state-{progress.step:08d}{f'-{part}-of-{n_ranks}' if n_ranks > 1 else ''}.safetensors"
            for part in range(n_ranks)
        ]
        shapes = engine.state_shapes()
        own = {name: shapes[name] for name in sorted(shapes)[rank::n_ranks]}
        tensors: Iterable[tuple[str, Tensor]] = engine.state()
        if n_ranks > 1:
            # All ranks bring every tensor together; then each writes its own, all at the same time.
            tensors = [(name, tensor.cpu()) for name, tensor in tensors if name in own]
        with tensor_writer(self._folder / names[rank], own, about, sealed=True) as writer:
            for name, tensor in tensors:
                writer.append(name, tensor)
        self._ranks.wait()
        if self._ranks.first:  # those of this step by another number of ranks know other snapshots, up to rounding
            for path in self._paths()[progress.step]:
                if path.name not in names:
                    path.unlink(missing_ok=True)

    def latest(self, start: int, snapshots: Sequence[int]) -> Progress | None:
        """Return where the latest state is from which a block can be finished, or None.

        That is one of this block that has all its snapshots so far, whole; else the one it starts from; else an
        earlier one.

        Args:
            start: the step that the block goes on from.
            snapshots: the steps of its snapshots, ascending.
        """
        # One rank decides: the others need not read every snapshot again.
        found = self._latest_step(start, snapshots) if self._ranks.first else None
        step = self._ranks.greatest(-1 if found is None else found)
        if step < 0:
            return None
        with self._open(step) as (_, about):
            if step <= start:
                return Progress(step, start)
            return Progress(step, start, _within(about["snapshots"], snapshots), about["rows"])

    def load(self, step: int, engine: Engine) -> None:
        """Let an engine go on from the state of a step."""
        with self._open(step) as (tensors, _):
            engine.load_state(tensors, step)

    def forget(self, start: int, last: int, keep: Iterable[int]) -> None:
        """Delete the states after step `start` up to step `last` but those to keep, and what killed savings left."""
        if self._ranks.first:
            remove_abandoned(self._folder, ".state-*.partial")
            for step, paths in self._paths().items():
                if start < step <= last and step not in set(keep):
                    for path in paths:
                        path.unlink(missing_ok=True)

    def _latest_step(self, start: int, snapshots: Sequence[int]) -> int | None:
        paths = self._paths()
        for step in sorted((step for step in paths if step <= snapshots[-1]), reverse=True):
            try:
                for path in paths[step]:
                    _check(path)
            except UnreadableError:
                raise
            except InductionError as error:
                print(
                    f"{error}. Training resumes from an earlier state, or starts again where there is none; "
                    "the weights will be the same.",
                    file=sys.stderr,
                    flush=True,
                )
                continue
            try:
                with self._open(step) as (_, about):
                    written = _within(about["snapshots"], snapshots)
            except InductionError:
                continue
            if step <= start:
                return step
            complete = [entry["step"] for entry in written] == [other for other in snapshots if other <= step]
            if about["block_start"] == start and complete and all(self._is_whole(entry) for entry in written):
                return step
        return None

    @contextmanager
    def _open(self, step: int) -> Iterator[tuple[Mapping[str, Tensor], dict[str, Any]]]:
        """Open the state of a step: all parts of one saving, of this identity."""
        with ExitStack() as opened:
            parts: dict[tuple[int, int], list[tuple[Mapping[str, Tensor], dict[str, Any]]]] = {}
            for path in self._paths().get(step, ()):
                tensors, about = opened.enter_context(open_tensors(path, "state"))
                if about.get("format") in (_FORMAT, _UNSEALED) and about["identity"] == self._identity:
                    parts.setdefault((about.get("saving", 0), about["n_parts"]), []).append((tensors, about))
            for (_, n_parts), found in sorted(parts.items(), reverse=True):
                if len(found) == n_parts:
                    first = next(about for _, about in found if about["part"] == 0)  # it knows the snapshots' hashes
                    yield _Together([tensors for tensors, _ in found]), first
                    return
            raise InductionError(f"{self._folder}: holds no whole state of step {step}")

    def _paths(self) -> dict[int, list[Path]]:
        paths: dict[int, list[Path]] = {}
        for path in sorted(self._folder.glob("state-*.safetensors")):
            if named := _NAME.fullmatch(path.name):
                paths.setdefault(int(named[1]), []).append(path)
        return paths

    def _is_whole(self, entry: dict[str, Any]) -> bool:
        path = self._folder / entry["file"]
        try:
            return path.is_file() and sha256_file(path) == str(entry["sha256"])
        except OSError as error:
            raise cannot_read(path, "snapshot", error) from error


def _check(path: Path) -> None:
    """See that a state's file holds what was written; reads all of it."""
    with open_tensors(path, "state") as (_, about):
        is_sealed = SEAL in about or about.get("format") != _UNSEALED
    if is_sealed:
        check_seal(path, "state")


def _within(entries: Iterable[dict[str, Any]], steps: Sequence[int]) -> list[dict[str, Any]]:
    return [entry for entry in entries if entry["step"] in steps]


class _Together(Mapping[str, Tensor]):
    """The tensors of all parts of a state, read when they are asked for."""

    def __init__(self, parts: Iterable[Mapping[str, Tensor]]) -> None:
        self._part_of = {name: part for part in parts for name in part}

    def __getitem__(self, name: str) -> Tensor:
        return self._part_of[name][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._part_of)

    def __len__(self) -> int:
        return len(self._part_of)
