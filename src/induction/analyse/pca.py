"""Principal components of the losses that all snapshots of all models have on the same tokens."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn import decomposition

from induction.analyse.signals import random_index_losses, read_random_index
from induction.errors import InductionError
from induction.tables.pca import PCA
from induction.tables.provenance import provenance_of
from induction.tables.table import model_of

Floats = NDArray[np.float64]


def pca(losses: Sequence[Path], evaluation: Path, out: Path) -> None:
    """Write two shared components of the losses at random indices, a row a snapshot of every model."""
    provenance = provenance_of(sorted(losses))
    random_index = read_random_index(evaluation)
    parts = {model: list(paths) for model, paths in groupby(sorted(losses, key=model_of), key=model_of)}
    measured = {model: random_index_losses(paths, random_index) for model, paths in parts.items()}
    coordinates, explained = shared_components([model.by_example_SE["loss"] for model in measured.values()])
    with PCA.writer(out, **provenance) as table:
        for (name, model), points in zip(measured.items(), coordinates, strict=True):
            table.append(
                {"model": name, "step": model.steps_S, "tokens": model.tokens_S}
                | {"pc1": points[:, 0], "pc2": points[:, 1]}
                | {"pc1_explained": explained[0], "pc2_explained": explained[1]}
            )


def shared_components(losses_SE: Sequence[Floats]) -> tuple[list[Floats], Floats]:
    """Stack the snapshots of all models, centre them, and find their first two principal components.

    A component's sign is free. Here each points the way that training goes: over the models, the mean of last minus
    first snapshot is not negative.

    Args:
        losses_SE: of each model, the loss of its snapshots, ascending, on every example, nats.

    Returns:
        Of each model, the coordinates of its snapshots, [S, 2], nats; and the shares of the variance explained, [2].

    Source: Olsson et al. 2022, per-token loss vectors.
    """
    stacked = np.concatenate(losses_SE)
    if min(stacked.shape) < 2:
        raise InductionError(f"table losses: two components need two snapshots and two examples, not {stacked.shape}")
    components = decomposition.PCA(n_components=2, svd_solver="full")
    ends = np.cumsum([len(model_SE) for model_SE in losses_SE])[:-1]
    coordinates = np.split(components.fit_transform(stacked), ends)
    training = np.mean([points[-1] - points[0] for points in coordinates], axis=0)
    signs = np.where(training < 0, -1.0, 1.0)
    return [points * signs for points in coordinates], components.explained_variance_ratio_
