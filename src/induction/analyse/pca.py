"""Principal components of the losses that all snapshots of a group of models have on the same tokens.

Suffix letters: S snapshot, J interval between snapshots, E example, K component, R resample.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn import decomposition

from induction.analyse.signals import random_index_losses, read_random_index
from induction.artefacts.origins import check_together, joined, origin_of
from induction.errors import InductionError
from induction.resampling import interval, resample_weights
from induction.study.analysis import Bootstrap, Phases
from induction.tables.pca import PCA
from induction.tables.table import model_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Components:
    """Two components that models share.

    Attributes:
        coordinates: of each model, the coordinates of its snapshots, [S, K], nats.
        directions_KE: unit vectors; zeros where there are no components.
        explained_K: shares of the variance; NaN where there are no components.
    """

    coordinates: list[Floats]
    directions_KE: Floats
    explained_K: Floats


def pca(
    losses: Sequence[Path],
    evaluations: Mapping[str, Path],
    groups: Mapping[str, str],
    bootstrap: Bootstrap,
    rule: Phases,
    out: Path,
) -> None:
    """Write two components of the losses at random indices, shared inside each group, a row a snapshot of every model.

    A group without components, see `shared_components`, has all snapshots at 0; stderr says why.

    Args:
        losses: parts of table losses, of all models.
        evaluations: the evaluation set of each group.
        groups: the group of each model.
        bootstrap: resamples of the examples, behind the intervals of the turns.
        rule: `smoothing_snapshots` is the reach of the direction before and after a snapshot.
        out: the table pca.

    Raises:
        InductionError: a model has no group, no losses or no evaluation set, or the parts of a group do not belong
            together.
    """
    parts = _by_group(losses, groups)
    if missing := [group for group in parts if group not in evaluations]:
        raise InductionError(f"groups: no evaluation set is given of {', '.join(missing)}. Give one for each group.")
    origins = [[origin_of(path) for paths in group.values() for path in paths] for group in parts.values()]
    for of_group in origins:
        check_together(of_group, "corpus")
    with PCA.writer(out, **joined(chain(*origins))) as table:
        for group, parts_of_model in parts.items():
            random_index = read_random_index(evaluations[group])
            measured = {name: random_index_losses(paths, random_index) for name, paths in parts_of_model.items()}
            losses_SE = [model.by_example_SE["loss"] for model in measured.values()]
            shared = shared_components(losses_SE)
            if np.isnan(shared.explained_K).any():
                print(_without_components(group, losses_SE), file=sys.stderr)
            weights_RE = resample_weights(len(random_index), bootstrap)
            for (name, model), points in zip(measured.items(), shared.coordinates, strict=True):
                turn, low, high = turns(
                    model.by_example_SE["loss"],
                    shared.directions_KE,
                    weights_RE,
                    rule.smoothing_snapshots,
                    bootstrap.confidence,
                )
                table.append(
                    {"group": group, "model": name, "step": model.steps_S, "tokens": model.tokens_S}
                    | {"pc1": points[:, 0], "pc2": points[:, 1]}
                    | {"turn": turn, "turn_low": low, "turn_high": high}
                    | {"pc1_explained": shared.explained_K[0], "pc2_explained": shared.explained_K[1]}
                )


def shared_components(losses_SE: Sequence[Floats]) -> Components:
    """Stack the snapshots of all models, centre them, and find their first two principal components.

    A component's sign is free. Here each points the way that training goes: over the models, the mean of last minus
    first snapshot is not negative. Where there is a single snapshot or example, or all snapshots have the same losses,
    there are no components: all coordinates are 0.

    Args:
        losses_SE: of each model, the loss of its snapshots, ascending, on every example, nats.

    Source: Olsson et al. 2022, per-token loss vectors.
    """
    stacked_SE = np.concatenate(losses_SE)
    if min(stacked_SE.shape) < 2 or not np.ptp(stacked_SE, axis=0).any():
        nowhere = [np.zeros((len(model_SE), 2)) for model_SE in losses_SE]
        return Components(nowhere, np.zeros((2, stacked_SE.shape[1])), np.full(2, np.nan))
    components = decomposition.PCA(n_components=2, svd_solver="full")
    ends = np.cumsum([len(model_SE) for model_SE in losses_SE])[:-1]
    coordinates = np.split(components.fit_transform(stacked_SE), ends)
    training = np.mean([points[-1] - points[0] for points in coordinates], axis=0)
    signs = np.where(training < 0, -1.0, 1.0)
    return Components(
        [points * signs for points in coordinates],
        components.components_ * signs[:, None],
        components.explained_variance_ratio_,
    )


def turns(
    losses_SE: Floats, directions_KE: Floats, weights_RE: Floats, smoothing_snapshots: float, confidence: float
) -> tuple[Floats, Floats, Floats]:
    """Return the angle by which a trajectory turns at each snapshot, in the plane of two components, and its interval.

    A resample's coordinates are the same projection with each example weighted as often as it was drawn. The components
    stay those of the sample, and so does the centre, which differences of snapshots do not show; so the interval does
    not tell how far the components follow the sample's noise. It is that of the percentiles, widened to hold the
    sample's angle. An angle is not negative, and noise makes it greater: a lower end above 0 does not show a turn, one
    above an angle that matters does.

    Args:
        losses_SE: loss of the snapshots, ascending, on every example, nats.
        directions_KE: the two components.
        weights_RE: share of each example in each resample.
        smoothing_snapshots: see `turning_angles`.
        confidence: coverage of the interval.

    Returns:
        The angle and the ends of its interval, degrees, 0 to 180, [S] each; NaN where the sample has no way before or
        after. A resample without one could have turned by any angle.
    """
    n_examples = weights_RE.shape[1]
    all_weights_RE = np.vstack([np.full(n_examples, 1 / n_examples), weights_RE])
    change_JE = np.diff(losses_SE, axis=0)
    moves_RJK = np.stack([all_weights_RE @ (change_JE * one_E).T for one_E in directions_KE], axis=-1)
    angle_S, *angles = turning_angles(moves_RJK, smoothing_snapshots)
    resampled_RS = np.array(angles)
    low_S, _ = interval(np.nan_to_num(resampled_RS, nan=0.0), confidence)
    _, high_S = interval(np.nan_to_num(resampled_RS, nan=180.0), confidence)
    return angle_S, np.minimum(low_S, angle_S), np.maximum(high_S, angle_S)


def turning_angles(moves_RJK: Floats, smoothing_snapshots: float) -> Floats:
    """Return the angle between the ways that lead to each snapshot and away from it.

    Each way is the sum of the moves on that side alone, so that a corner is not rounded off, weighted by a Gaussian
    over snapshots. As in `windows.smoothed_rate` it is over snapshots whatever their spacing in tokens. It is one half
    of a Gaussian, and so twice as wide: as many moves tell a way as tell a rate.

    Args:
        moves_RJK: from each snapshot to the next, in the plane of two components, of each resample.
        smoothing_snapshots: half the standard deviation of the Gaussian, in snapshots.

    Returns:
        Degrees, 0 to 180, [R, S]; NaN where there is no way to or from a snapshot.
    """
    n_moves = moves_RJK.shape[1]
    distance_SJ = np.arange(n_moves) + 0.5 - np.arange(n_moves + 1)[:, None]
    weight_SJ = np.exp((0.25 - distance_SJ**2) / 2 / (2 * smoothing_snapshots) ** 2)  # 1 for the nearest
    before_RSK = np.where(distance_SJ < 0, weight_SJ, 0) @ moves_RJK
    after_RSK = np.where(distance_SJ > 0, weight_SJ, 0) @ moves_RJK
    across = before_RSK[..., 0] * after_RSK[..., 1] - before_RSK[..., 1] * after_RSK[..., 0]
    angles_RS = np.degrees(np.arctan2(np.abs(across), (before_RSK * after_RSK).sum(axis=-1)))
    moves = before_RSK.any(axis=-1) & after_RSK.any(axis=-1)
    return np.where(moves, angles_RS, np.nan)


def _by_group(losses: Sequence[Path], groups: Mapping[str, str]) -> dict[str, dict[str, list[Path]]]:
    """Return the parts of each model of each group, all in order of their names."""
    of_model: dict[str, list[Path]] = {}
    for path in sorted(losses):
        of_model.setdefault(model_of(path), []).append(path)
    if other := sorted(groups.keys() ^ of_model.keys()):
        raise InductionError(
            f"groups: each model needs both a group and parts of table losses; only one is given of {', '.join(other)}"
        )
    return {
        group: {model: of_model[model] for model in sorted(of_model) if groups[model] == group}
        for group in sorted(set(groups.values()))
    }


def _without_components(group: str, losses_SE: Sequence[Floats]) -> str:
    n_snapshots, n_examples = sum(map(len, losses_SE)), losses_SE[0].shape[1]
    why = f"{n_snapshots} snapshots with the same losses on all {n_examples} examples"
    if min(n_snapshots, n_examples) < 2:
        why = f"two snapshots and two examples are needed, and there are {n_snapshots} and {n_examples}"
    return f"table pca, group {group}: no principal components: {why}. All its coordinates are 0."
