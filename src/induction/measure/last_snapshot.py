"""A model's last snapshot, and the scores of its heads, by which they are classed."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from induction.errors import InductionError
from induction.models.snapshots import Snapshot, open_snapshots, read_block
from induction.tables.heads import HEADS


def open_last(manifest: Path, device: str) -> Snapshot:
    """Return the last snapshot of a block; see `open_snapshots`."""
    (snapshot,) = open_snapshots(manifest, [_last_step(manifest)], device)
    return snapshot


def last_scores(manifest: Path, parts: Sequence[Path]) -> pl.DataFrame:
    """Read the scores of the heads of a block's last snapshot, rows of the table `heads`.

    Raises:
        InductionError: the scores are not those of the snapshot's heads.
    """
    scores, last = HEADS.read(parts), _last_step(manifest)
    architecture = read_block(manifest).architecture
    n_heads = architecture.n_layers * architecture.n_heads
    if scores["step"].max() != last or scores.filter(pl.col("step") == last).height != n_heads:
        raise InductionError(
            f"{', '.join(map(str, parts))}: not the scores of the {n_heads} heads at step {last}, the last snapshot of "
            f"{manifest}. Make them again: induction heads {manifest} …"
        )
    return scores.filter(pl.col("step") == last)


def _last_step(manifest: Path) -> int:
    return read_block(manifest).snapshots[-1].step
