"""Replicates: what each resample of the examples makes of the curves, by hand and across models."""

import numpy as np
import pytest
from planted import TWELVE, write_evaluation, write_heads, write_losses

from induction.analyse.curves import curves
from induction.errors import InductionError
from induction.resampling import interval, resample_weights
from induction.study.analysis import Bootstrap
from induction.study.evaluation import InContext
from induction.tables.curves import CURVES
from induction.tables.replicates import REPLICATES

BOOTSTRAP = Bootstrap(n_resamples=200, seed=3)


def replicated(folder, values_SEI, in_context=TWELVE):
    """Run the stage on losses [snapshot, example, index] of a model, and return its parts of both tables."""
    n_snapshots, n_examples, n_indices = values_SEI.shape
    losses = write_losses(folder, range(n_snapshots), values_SEI.astype(np.float32), blocks=2)
    heads = [write_heads(folder / "heads.parquet", range(n_snapshots), {"copying": np.zeros((n_snapshots, 1))})]
    evaluation = write_evaluation(folder / "evaluation.safetensors", np.arange(n_examples) % n_indices + 1)
    out, resampled = folder / "curves.parquet", folder / "replicates.parquet"
    curves(losses, heads, evaluation, in_context, BOOTSTRAP, out, resampled)
    return CURVES.read(out), REPLICATES.read(resampled)


def test_each_replicate_is_the_mean_of_the_examples_that_were_drawn(tmp_path):
    values = np.random.default_rng(0).uniform(1, 5, size=(3, 40, 12))
    _, table = replicated(tmp_path / "model=a", values)
    late, early = values[:, :, 8:12].mean(axis=2), values[:, :, 1:4].mean(axis=2)
    by_hand = {
        "loss": values[:, np.arange(40), np.arange(40) % 12],
        "icl_windowed": late - early,
        "loss_at_ten": values[:, :, 7:12].mean(axis=2),
        "loss_late": late,
        "late_slope": np.polyfit(np.log(np.arange(4, 13)), values[:, :, 3:].reshape(120, 9).T, 1)[0].reshape(3, 40),
    }
    for name, values_SE in by_hand.items():
        drawn_SR = values_SE @ resample_weights(40, BOOTSTRAP).T
        np.testing.assert_allclose(table[name].to_numpy(), drawn_SR, atol=1e-5, err_msg=name)


def test_replicates_scatter_about_the_curve_and_make_its_interval(tmp_path):
    curve, table = replicated(tmp_path / "model=a", np.random.default_rng(1).uniform(1, 5, size=(3, 40, 12)))
    for name in ("loss", "icl_windowed"):
        resampled_SR = table[name].to_numpy().astype(np.float64)
        off = (resampled_SR.mean(axis=1) - curve[name].to_numpy()) / resampled_SR.std(axis=1)
        assert (np.abs(off) < 4 / np.sqrt(BOOTSTRAP.n_resamples)).all(), name
        low, high = interval(resampled_SR.T, BOOTSTRAP.confidence)
        np.testing.assert_allclose(curve[f"{name}_low"].to_numpy(), low, atol=1e-5)
        np.testing.assert_allclose(curve[f"{name}_high"].to_numpy(), high, atol=1e-5)


def test_the_slope_over_log_index_is_that_of_the_tokens_from_the_early_one_on(tmp_path):
    random = np.random.default_rng(2)
    height_SE, slope_SE = random.uniform(4, 8, size=(3, 30)), random.uniform(-0.5, 0.5, size=(3, 30))
    values = height_SE[:, :, None] + slope_SE[:, :, None] * np.log(np.arange(1, 41))
    values[:, :, :9] = random.uniform(0, 9, size=(3, 30, 9))
    in_context = InContext(early=10, late=40, early_window=(9, 11), late_window=(38, 40))
    _, table = replicated(tmp_path / "model=a", values, in_context)
    expected_SR = slope_SE @ resample_weights(30, BOOTSTRAP).T
    np.testing.assert_allclose(table["late_slope"].to_numpy(), expected_SR, atol=1e-5)


def test_a_resample_draws_the_same_examples_for_every_model_and_snapshot(tmp_path):
    values = np.random.default_rng(3).uniform(1, 5, size=(2, 40, 12))
    _, one = replicated(tmp_path / "model=one", values)
    _, other = replicated(tmp_path / "model=other", np.concatenate([2 * values, 3 * values[:1]]))
    for name in (column.name for column in REPLICATES.columns if column.kind == "float32[]"):
        expected = [2 * one[name].to_numpy(), 3 * one[name].to_numpy()[:1]]
        np.testing.assert_allclose(other[name].to_numpy(), np.concatenate(expected), atol=1e-5, err_msg=name)


def test_both_tables_are_written_or_an_error_is_raised(tmp_path):
    with pytest.raises(InductionError, match=r"the losses have 11 tokens; loss_at_ten .* reads tokens 8 to 12"):
        replicated(
            tmp_path / "model=short",
            np.ones((2, 4, 11)),
            InContext(early=2, late=6, early_window=(2, 3), late_window=(5, 6)),
        )
    assert not list(tmp_path.glob("model=short/*curves*"))
    (tmp_path / "model=a" / "replicates.parquet").mkdir(parents=True)
    with pytest.raises(InductionError, match=r"replicates\.parquet: cannot be written: Is a directory\."):
        replicated(tmp_path / "model=a", np.ones((2, 4, 12)))
    assert not list(tmp_path.glob("model=a/*curves*"))
