"""Shared components against a singular value decomposition by hand."""

import numpy as np
import pytest
from planted import write_evaluation, write_losses

from induction.analyse.pca import pca, shared_components
from induction.errors import InductionError
from induction.tables.pca import PCA


def test_components_are_those_of_the_singular_value_decomposition():
    random = np.random.default_rng(0)
    models = [random.normal(size=(n, 30)) for n in (5, 7)]
    coordinates, explained = shared_components(models)
    stacked = np.concatenate(models)
    left, sizes, _ = np.linalg.svd(stacked - stacked.mean(axis=0), full_matrices=False)
    by_hand = (left * sizes)[:, :2]
    ours = np.concatenate(coordinates)
    np.testing.assert_allclose(ours * np.sign(ours[0]), by_hand * np.sign(by_hand[0]), atol=1e-10)
    np.testing.assert_allclose(explained, sizes[:2] ** 2 / (sizes**2).sum())


def test_distances_of_flat_data_are_kept():
    random = np.random.default_rng(1)
    models = [random.normal(size=(n, 2)) @ random.normal(size=(2, 40)) for n in (6,)]
    coordinates, explained = shared_components(models)
    for kept, given in zip(coordinates, models, strict=True):
        distances = [np.linalg.norm(points[:, None] - points[None], axis=2) for points in (kept, given)]
        np.testing.assert_allclose(*distances, atol=1e-9)
    assert explained.sum() == pytest.approx(1)


def test_training_goes_to_the_right_and_up():
    random = np.random.default_rng(2)
    models = [random.normal(size=(4, 10)) for _ in range(3)]
    coordinates, _ = shared_components(models)
    assert (np.mean([points[-1] - points[0] for points in coordinates], axis=0) >= 0).all()
    mirrored, _ = shared_components([-model for model in models])
    for points, mirror in zip(coordinates, mirrored, strict=True):
        np.testing.assert_allclose(points, mirror, atol=1e-9)


def test_the_stage_stacks_models_whatever_the_order_of_their_parts(tmp_path):
    random = np.random.default_rng(3)
    values = {model: random.uniform(1, 5, size=(4, 6, 8)).astype(np.float32) for model in ("b", "a")}
    parts = [
        path
        for model, losses in values.items()
        for path in write_losses(tmp_path / f"model={model}", range(4), losses, blocks=2)
    ]
    evaluation = write_evaluation(tmp_path / "evaluation.safetensors", [1, 2, 3, 4, 5, 8])
    for name, given in (("one", parts), ("other", parts[::-1])):
        pca(given, evaluation, tmp_path / f"{name}.parquet")
    table = PCA.read(tmp_path / "one.parquet")
    assert table.equals(PCA.read(tmp_path / "other.parquet"))
    assert table["model"].to_list() == ["a"] * 4 + ["b"] * 4
    vectors = [values[model][:, np.arange(6), [0, 1, 2, 3, 4, 7]].astype(np.float64) for model in ("a", "b")]
    np.testing.assert_allclose(table.select("pc1", "pc2").to_numpy(), np.concatenate(shared_components(vectors)[0]))


def test_one_snapshot_is_too_few():
    with pytest.raises(InductionError, match="two components need two snapshots"):
        shared_components([np.ones((1, 5))])
