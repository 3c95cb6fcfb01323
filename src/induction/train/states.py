"""States: what training goes on from, after a block or in the middle of one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from induction.errors import InductionError
from induction.files import sha256_file
from induction.models.snapshots import read_tensors, write_tensors


@dataclass
class Progress:
    """How far a block has come: the step, and what it has yet to say in its manifest and its table."""

    step: int
    block_start: int
    snapshots: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, float]] = field(default_factory=list)


class States:
    """The states of one model, `state-STEP.safetensors` in its folder.

    Args:
        folder: the model's folder.
        identity: fingerprint of all that its weights depend on; states of another identity are not looked at.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder = folder
        self._identity = identity

    def save(self, progress: Progress, tensors: dict[str, Tensor]) -> None:
        """Keep a state."""
        about = {
            "identity": self._identity,
            "step": progress.step,
            "block_start": progress.block_start,
            "snapshots": progress.snapshots,
            "rows": progress.rows,
        }
        write_tensors(self._path(progress.step), tensors, about)

    def latest(self, start: int, snapshots: Sequence[int]) -> tuple[Progress, dict[str, Tensor]] | None:
        """Return the latest state from which a block can be finished, or None.

        That is one of this block that has all its snapshots so far, whole; else the one it starts from; else an
        earlier one.

        Args:
            start: the step that the block goes on from.
            snapshots: the steps of its snapshots, ascending.
        """
        for step in sorted((step for step in self._steps() if step <= snapshots[-1]), reverse=True):
            try:
                tensors, about = read_tensors(self._path(step), "state")
            except InductionError:
                continue
            if about.get("identity") != self._identity:
                continue
            if step <= start:
                return Progress(step, start), tensors
            written = [entry for entry in about["snapshots"] if entry["step"] in snapshots]
            complete = [entry["step"] for entry in written] == [other for other in snapshots if other <= step]
            if about["block_start"] == start and complete and all(self._is_whole(entry) for entry in written):
                return Progress(step, start, written, about["rows"]), tensors
        return None

    def forget(self, start: int, last: int, keep: Iterable[int]) -> None:
        """Delete the states after step `start` up to step `last`, but for those to keep."""
        for step in set(self._steps()) - set(keep):
            if start < step <= last:
                self._path(step).unlink(missing_ok=True)

    def _path(self, step: int) -> Path:
        return self._folder / f"state-{step:08d}.safetensors"

    def _steps(self) -> list[int]:
        names = (path.name.removesuffix(".safetensors").removeprefix("state-") for path in self._folder.glob("state-*"))
        return [int(name) for name in names if name.isdigit()]

    def _is_whole(self, entry: dict[str, Any]) -> bool:
        path = self._folder / entry["file"]
        return path.is_file() and sha256_file(path) == str(entry["sha256"])
