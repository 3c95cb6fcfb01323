"""The figure `class_thresholds`: what is counted at the study's own thresholds is what the classes say."""

import numpy as np
import polars as pl
import pytest
from drawings import drawn, lines, notes, only
from simulated_tables import BIG, DEMO, N_HEADS, SEEDS, STEPS, planted_heads, write_tables

from induction.figures import theme
from induction.figures.class_thresholds import THRESHOLDS, counts, share_lost
from induction.study.analysis import Heads

ONE, TWO = DEMO[:2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("demo"))


def at(axis, label, threshold):
    line = only(axis, label)
    return line.get_ydata()[np.flatnonzero(np.isclose(line.get_xdata(), threshold)).item()]


def test_scores_at_a_threshold_or_above_it_are_counted():
    found = dict(zip(THRESHOLDS.round(2), counts(pl.Series([0.0, 0.25, 0.25, 0.9])), strict=True))
    assert [found[threshold] for threshold in (0.0, 0.01, 0.25, 0.26, 0.9, 0.91, 1.0)] == [4, 3, 3, 1, 1, 0, 0]


HEADS = {
    "prefix_matching": [0.8, 0.5, 0.5, 0.1],
    "copying": [0.9, 0.9, -0.2, 0.9],
    "icl_change": [0.3, 0.1, 0.2, -0.4],
    "icl_change_se": [0.01] * 4,
}


def test_the_share_is_of_what_heads_cost_and_those_that_cost_nothing_count_as_zero():
    found = dict(zip(THRESHOLDS.round(2), share_lost(pl.DataFrame(HEADS), copying=0.0), strict=True))
    expected = {0.0: 2 / 3, 0.5: 2 / 3, 0.51: 1 / 2, 0.8: 1 / 2, 0.81: 0}
    assert {threshold: found[threshold] for threshold in expected} == pytest.approx(expected)


def test_a_sum_of_noise_has_no_share():
    noise = pl.DataFrame(HEADS | {"icl_change_se": [0.2] * 4})
    assert share_lost(noise, copying=0.0) is None


def test_the_numbers_at_the_study_s_own_thresholds_are_those_of_the_classes(demo):
    inputs, _, axes = drawn("class_thresholds", demo)
    own = Heads()
    columns = np.array(axes, dtype=object).reshape(3, 3).T
    for (induction, lost, previous), models in zip(columns, (DEMO[:2], DEMO[2:4], DEMO[4:]), strict=True):
        for model in models:
            depth = f"{model.n_layers} layer{'s' * (model.n_layers > 1)}"
            heads = planted_heads(model)
            assert at(induction, f"induction, {depth}", own.induction_prefix_matching) == len(heads["induction"])
            assert at(previous, f"previous-token, {depth}", own.previous_token) == len(heads["previous-token"])
            assert at(induction, f"any copying, {depth}", 0) == model.n_layers * N_HEADS
            if heads["induction"]:
                ablated = inputs.tables["ablations"].filter(
                    model=model.name, step=STEPS[-1], mode="pattern-preserving", replacement="zero", norm="recomputed"
                )
                cost = ablated["icl_change"].clip(0)
                layer, head = heads["induction"][0]
                of_induction = ablated.filter(layer=layer, head=head)["icl_change"].item()
                assert at(lost, f"lost, {depth}", 0.3) == pytest.approx(of_induction / cost.sum())
    for axis, threshold in zip(columns[0], (0.3, 0.3, own.previous_token), strict=True):
        assert only(axis, "own").get_xdata()[0] == threshold


def test_lines_never_rise_with_the_threshold(demo):
    _, _, axes = drawn("class_thresholds", demo)
    swept = [line for axis in axes for line in axis.lines if line.get_label() != "own"]
    assert len(swept) >= 3 * len(DEMO)
    assert all((np.diff(line.get_ydata()) <= 1e-12).all() for line in swept)


def test_a_model_that_loses_nothing_has_no_share_and_the_panel_of_such_models_says_so(demo):
    _, _, axes = drawn("class_thresholds", demo, (ONE,))
    assert notes(axes[1]) == ["no ablation\ncosts anything"]
    _, _, axes = drawn("class_thresholds", demo, (ONE, TWO))
    assert not lines(axes[1], "lost, 1 layer")
    assert len(lines(axes[1], "lost, 2 layers")) == 1


def test_seeds_are_thin_beneath_their_mean(tmp_path):
    _, _, (induction, lost, previous) = drawn("class_thresholds", write_tables(tmp_path, SEEDS), SEEDS)
    assert [len(lines(axis, "seed")) for axis in (induction, lost, previous)] == [12, 3, 6]
    assert {line.get_linewidth() for line in lines(lost, "seed")} == {theme.THIN}
    mean = np.mean([line.get_ydata() for line in lines(lost, "seed")], axis=0)
    np.testing.assert_allclose(only(lost, "lost, 2 layers").get_ydata(), mean)


def test_many_heads_stand_on_a_logarithmic_axis_and_few_do_not(demo, tmp_path):
    _, _, axes = drawn("class_thresholds", demo)
    assert {axis.get_yscale() for axis in axes} == {"linear"}
    _, _, axes = drawn("class_thresholds", write_tables(tmp_path, BIG), BIG)
    assert [axis.get_yscale() for axis in axes[::2]] == ["symlog", "linear", "symlog"]


def test_what_is_not_measured_is_said(demo, tmp_path):
    without = [path for path in demo if not ("ablations" in path.parts and f"model={DEMO[4].name}" in path.parts)]
    _, _, axes = drawn("class_thresholds", without)
    assert [notes(axes[place]) for place in (2, 5, 8)] == [[], ["no heads\nablated yet"], []]
    _, _, axes = drawn("class_thresholds", write_tables(tmp_path, (TWO,), steps=STEPS[:0]), (TWO,))
    none = ["no snapshots\nmeasured yet"]
    assert [notes(axis) for axis in axes] == [none, ["no heads\nablated yet"], none]
