"""Which steps a model is measured at, and the blocks they are trained in: pure functions of the configuration."""

from collections.abc import Iterable

from induction.study.config import SnapshotRule


def snapshot_steps(rules: Iterable[SnapshotRule], n_steps: int) -> tuple[int, ...]:
    """Return the steps whose weights are kept, ascending: those of every rule, the first (0) and the last."""
    steps = {0, n_steps}
    for rule in rules:
        steps.update(rule.steps(n_steps))
    return tuple(sorted(steps))


def blocks(steps: Iterable[int], block_snapshots: int) -> tuple[tuple[int, ...], ...]:
    """Return consecutive snapshots in blocks; more steps add blocks and change at most the last, if it was short."""
    ordered = tuple(steps)
    return tuple(ordered[first : first + block_snapshots] for first in range(0, len(ordered), block_snapshots))


def every_nth(steps: tuple[int, ...], every: int) -> frozenset[int]:
    """Return every `every`-th step counted from the first, and the last one."""
    return frozenset((*steps[::every], steps[-1]))
