"""Shared components against a singular value decomposition by hand, and planted turns."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from planted import write_evaluation, write_losses

from induction.analyse.pca import pca, shared_components, turning_angles, turns
from induction.errors import InductionError
from induction.resampling import resample_weights
from induction.study.analysis import Bootstrap, Phases
from induction.tables.losses import LOSSES
from induction.tables.pca import PCA

BOOTSTRAP = Bootstrap(n_resamples=100)
RULE = Phases()


def test_components_are_those_of_the_singular_value_decomposition():
    random = np.random.default_rng(0)
    models = [random.normal(size=(n, 30)) for n in (5, 7)]
    shared = shared_components(models)
    stacked = np.concatenate(models)
    centred = stacked - stacked.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    by_hand = (left * sizes)[:, :2]
    ours = np.concatenate(shared.coordinates)
    np.testing.assert_allclose(ours * np.sign(ours[0]), by_hand * np.sign(by_hand[0]), atol=1e-10)
    np.testing.assert_allclose(ours, centred @ shared.directions_KE.T, atol=1e-10)
    np.testing.assert_allclose(shared.explained_K, sizes[:2] ** 2 / (sizes**2).sum())


def test_distances_of_flat_data_are_kept():
    random = np.random.default_rng(1)
    models = [random.normal(size=(n, 2)) @ random.normal(size=(2, 40)) for n in (6,)]
    shared = shared_components(models)
    for kept, given in zip(shared.coordinates, models, strict=True):
        distances = [np.linalg.norm(points[:, None] - points[None], axis=2) for points in (kept, given)]
        np.testing.assert_allclose(*distances, atol=1e-9)
    assert shared.explained_K.sum() == pytest.approx(1)


def test_training_goes_to_the_right_and_up():
    random = np.random.default_rng(2)
    models = [random.normal(size=(4, 10)) for _ in range(3)]
    points_of = shared_components(models).coordinates
    assert (np.mean([points[-1] - points[0] for points in points_of], axis=0) >= 0).all()
    for points, mirror in zip(points_of, shared_components([-model for model in models]).coordinates, strict=True):
        np.testing.assert_allclose(points, mirror, atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 135.0, 180.0])
def test_a_corner_between_straight_lines_turns_by_its_angle(angle):
    pace = np.random.default_rng(0).uniform(0.5, 2, size=40)  # snapshots are not evenly spaced
    heading = np.radians(17) + np.where(np.arange(40) < 15, 0, np.radians(angle))
    moves = pace[:, None] * np.stack([np.cos(heading), np.sin(heading)], axis=1)
    found = turning_angles(moves[None], RULE.smoothing_snapshots)[0]
    assert np.isnan(found[[0, -1]]).all()
    assert found[15] == pytest.approx(angle, abs=1e-4)
    assert np.nanmax(found) <= angle + 1e-4
    away = np.abs(np.arange(41) - 15) > 7
    assert np.nanmax(found[away]) < 1
    sharp = turning_angles(moves[None], 0.05)[0]
    np.testing.assert_allclose(sharp[1:-1], np.where(np.arange(1, 40) == 15, angle, 0), atol=1e-4)


def test_the_turn_of_a_circle_is_the_same_everywhere_and_in_every_frame():
    heading = np.radians(10) * np.arange(30)
    moves = np.stack([np.cos(heading), np.sin(heading)], axis=1)
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(2, 2)))[0]
    found = turning_angles(np.stack([moves, 3 * moves @ turned, -moves]), RULE.smoothing_snapshots)
    np.testing.assert_allclose(found[1:], found[:1].repeat(2, axis=0), atol=1e-9)
    inside = found[0, 10:-10]
    np.testing.assert_allclose(inside, inside[0], atol=0.1)
    weights = np.exp((0.25 - (np.arange(12) + 0.5) ** 2) / 8)
    behind = np.angle(weights @ np.exp(-1j * np.radians(10) * np.arange(12)))  # of the way to a snapshot, from its end
    assert inside[0] == pytest.approx(10 - 2 * np.degrees(behind), abs=0.1)


def right_angle(noise, n_examples=3000, n_snapshots=30, corner=15, seed=0):
    """Losses whose snapshots go one way up to the corner and then across it, by 1 nat each; [snapshot, example]."""
    random = np.random.default_rng(seed)
    way, across = np.linalg.qr(random.normal(size=(n_examples, 2)))[0].T
    snapshot = np.arange(n_snapshots)[:, None]
    path = np.minimum(snapshot, corner) * way + np.maximum(snapshot - corner, 0) * across
    return 5 + path + noise * random.normal(size=(n_snapshots, n_examples))


def planted_turns(noise, seed=0):
    losses_SE = right_angle(noise, seed=seed)
    directions_KE = shared_components([losses_SE]).directions_KE
    weights_RE = resample_weights(losses_SE.shape[1], BOOTSTRAP)
    return turns(losses_SE, directions_KE, weights_RE, RULE.smoothing_snapshots, 0.95)


def test_a_planted_right_angle_is_found_where_it_is_with_the_interval_of_its_noise():
    away = np.abs(np.arange(30) - 15) > 7
    for seed in range(4):
        angle, low, high = planted_turns(0.02, seed)
        assert np.isnan([angle[0], low[0], high[0], angle[-1], low[-1], high[-1]]).all()
        assert np.nanargmax(angle) == 15
        assert low[15] < 90 < high[15] < low[15] + 12
        assert np.nanmax(high[away]) < 10
        angle, low, high = planted_turns(0.3, seed)
        assert high[15] - low[15] > 15
        assert np.nanmean((high - low)[away]) > 25
        assert ((low <= angle) & (angle <= high))[1:-1].all()


def test_a_trajectory_that_stands_still_has_no_turn_there_and_a_resample_could_have_any():
    losses_SE = np.array([[0, 0, 1], [1, 0, 1], [2, 0, 1], [2, 1, 1], [2, 2, 1], [2, 2, 1], [2, 2, 1]], dtype=float)
    directions_KE = np.eye(3)[:2]
    drawn_RE = np.tile([0.0, 0.0, 1.0], (20, 1))  # the third example alone: it never changes
    angle, low, high = turns(losses_SE, directions_KE, drawn_RE, 0.05, 0.95)
    np.testing.assert_allclose(angle[1:4], [0, 90, 0], atol=1e-9)
    np.testing.assert_array_equal(low[1:4], 0)
    np.testing.assert_array_equal(high[1:4], 180)
    assert np.isnan(np.stack([angle, low, high])[:, [0, 5, 6]]).all()
    alone = turns(losses_SE[:1], directions_KE, drawn_RE, 1.0, 0.95)
    assert np.isnan(alone).all()


def write_model(folder, name, values, **provenance):
    """Write the losses of a model, [snapshot, example, index], as one part."""
    path = folder / f"model={name}" / "part.parquet"
    with LOSSES.writer(path, **provenance) as table:
        for step, losses_EI in enumerate(values):
            table.append({"step": step, "tokens": 10 * step, "example": np.arange(len(losses_EI)), "loss": losses_EI})
    return path


def test_the_stage_stacks_models_whatever_the_order_of_their_parts(tmp_path):
    random = np.random.default_rng(3)
    values = {model: random.uniform(1, 5, size=(4, 6, 8)).astype(np.float32) for model in ("b", "a")}
    parts = [
        path
        for model, losses in values.items()
        for path in write_losses(tmp_path / f"model={model}", range(4), losses, blocks=2)
    ]
    evaluation = {"all": write_evaluation(tmp_path / "evaluation.safetensors", [1, 2, 3, 4, 5, 8])}
    for name, given in (("one", parts), ("other", parts[::-1])):
        pca(given, evaluation, {"a": "all", "b": "all"}, BOOTSTRAP, RULE, tmp_path / f"{name}.parquet")
    table = PCA.read(tmp_path / "one.parquet")
    assert table.equals(PCA.read(tmp_path / "other.parquet"))
    assert table["model"].to_list() == ["a"] * 4 + ["b"] * 4
    vectors = [values[model][:, np.arange(6), [0, 1, 2, 3, 4, 7]].astype(np.float64) for model in ("a", "b")]
    shared = shared_components(vectors)
    np.testing.assert_allclose(table.select("pc1", "pc2").to_numpy(), np.concatenate(shared.coordinates))
    turned = turns(vectors[1], shared.directions_KE, resample_weights(6, BOOTSTRAP), RULE.smoothing_snapshots, 0.95)
    for name, expected in zip(("turn", "turn_low", "turn_high"), turned, strict=True):
        assert [value is None for value in table[name]] == [True, False, False, True] * 2
        np.testing.assert_allclose(table[name].to_numpy()[5:7], expected[1:3], atol=1e-6)


@pytest.fixture
def corpora(tmp_path):
    """Groups of two corpora: one of a model of five snapshots, one of two models of a single snapshot each."""
    random = np.random.default_rng(4)
    parts = [
        write_model(tmp_path, "web", random.uniform(1, 5, (5, 7, 4)), corpus="w", evaluation="we", recipe="r1"),
        write_model(tmp_path, "book-1", random.uniform(1, 5, (1, 4, 3)), corpus="b", evaluation="be", recipe="r2"),
        write_model(tmp_path, "book-2", random.uniform(1, 5, (1, 4, 3)), corpus="b", evaluation="be", recipe="r1"),
    ]
    evaluations = {
        "web": write_evaluation(tmp_path / "web.safetensors", [1, 2, 3, 4, 1, 2, 3]),
        "books": write_evaluation(tmp_path / "books.safetensors", [3, 1, 2, 2]),
    }
    return parts, evaluations, {"web": "web", "book-1": "books", "book-2": "books"}


def test_groups_do_not_mix(corpora, tmp_path):
    parts, evaluations, groups = corpora
    alone, together = tmp_path / "alone.parquet", tmp_path / "together.parquet"
    pca(parts[:1], evaluations, {"web": "web"}, BOOTSTRAP, RULE, alone)
    pca(parts, evaluations, groups, BOOTSTRAP, RULE, together)
    table = PCA.read(together)
    assert table["group"].to_list() == ["books"] * 2 + ["web"] * 5
    assert table.filter(group="web").equals(PCA.read(alone))
    books = table.filter(group="books")
    assert books["turn"].null_count() == 2
    np.testing.assert_allclose(books["pc1"].sum(), 0, atol=1e-12)  # centred on the books alone
    np.testing.assert_allclose(books["pc1_explained"], 1)
    footer = pq.read_schema(together).metadata
    told = [footer[f"induction.{name}".encode()].decode() for name in ("corpus", "evaluation", "recipe")]
    assert told == ["b,w", "be,we", "r2,r1"]


def test_what_does_not_make_a_group_is_told(corpora, tmp_path):
    parts, evaluations, groups = corpora
    out = tmp_path / "pca.parquet"

    def refused(match, parts=parts, evaluations=evaluations, groups=groups):
        with pytest.raises(InductionError, match=match):
            pca(parts, evaluations, groups, BOOTSTRAP, RULE, out)
        assert not out.exists()

    refused("only one is given of book-2", parts[:2])
    refused("only one is given of web", groups={"book-1": "books", "book-2": "books"})
    refused("no evaluation set is given of books", evaluations={"web": evaluations["web"]})
    refused("not of one corpus", groups=groups | {"web": "books"})


def test_a_group_without_components_has_a_table_and_a_statement(corpora, tmp_path, capsys):
    """One snapshot alone; and snapshots whose losses never change."""
    parts, evaluations, groups = corpora
    random = np.random.default_rng(5)
    constant = np.repeat(random.uniform(1, 5, (1, 7, 4)), 3, axis=0)
    still = write_model(tmp_path, "still", constant, corpus="w", evaluation="we", recipe="r3")
    out = tmp_path / "pca.parquet"
    for given, group, n_rows, why in (
        ([parts[1]], {"book-1": "books"}, 1, "two snapshots and two examples are needed, and there are 1 and 4"),
        ([still], {"still": "web"}, 3, "3 snapshots with the same losses on all 7 examples"),
    ):
        pca(given, evaluations, group, BOOTSTRAP, RULE, out)
        table = PCA.read(out)
        assert table.select("pc1", "pc2").rows() == [(0.0, 0.0)] * n_rows
        empty = ("turn", "turn_low", "turn_high", "pc1_explained", "pc2_explained")
        assert table.select(empty).null_count().row(0) == (n_rows,) * len(empty)
        assert why in capsys.readouterr().err
    pca(parts, evaluations, groups, BOOTSTRAP, RULE, out)
    assert capsys.readouterr().err == ""
