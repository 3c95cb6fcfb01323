"""The figure `icl_indices`: scores between any indices are those planted, and fall fastest where they are planted to."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from drawings import bands, notes, only
from hypothesis import given
from hypothesis import strategies as st
from simulated_tables import DEMO, SEEDS, SETTINGS_JSON, SIX, STEPS, TOKENS_A_STEP, Planted, models_json, write_tables

from induction.figures.icl_indices import ARRAYS, NEEDS, draw, fastest_fall, pairs_of, score_map
from induction.figures.inputs import read_inputs

TOKENS = STEPS * TOKENS_A_STEP
LN = np.log(np.arange(1, 513))
CHANGE = 4.5e6


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("demo"))


def inputs_of(paths, models=DEMO):
    return read_inputs("icl_indices", NEEDS, paths, models_json(models), SETTINGS_JSON, ARRAYS)


def depth_at(tokens):
    """How far the loss falls for each unit of ln(index), over training."""
    return 0.05 + 0.2 / (1 + np.exp(-(tokens - CHANGE) / 3e5))


def planted(inputs):
    curves = inputs.tables["curves"]
    loss = 6 - depth_at(curves["tokens"].to_numpy())[:, None] * LN
    return replace(inputs, tables=inputs.tables | {"curves": curves.with_columns(loss_by_index=pl.Series(list(loss)))})


def split(figure):
    """The maps and the panels of curves."""
    axes = [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]
    return [axis for axis in axes if axis.collections], [axis for axis in axes if not axis.collections]


def test_a_map_holds_the_score_of_every_pair_of_bins():
    bins = [(1, 1), (2, 3), (4, 6)]
    scores = score_map(np.array([9.0, 7.0, 5.0, 4.0, 3.0, 2.0]), bins)
    np.testing.assert_array_equal(scores, [[np.nan] * 3, [-3, np.nan, np.nan], [-6, -3, np.nan]])


def test_the_map_is_of_the_last_snapshot_and_its_scale_reaches_from_0_to_what_is_planted(demo):
    maps, _ = split(draw(planted(inputs_of(demo))))
    assert len(maps) == len(DEMO)
    shown = np.ma.filled(maps[1].collections[0].get_array(), np.nan)
    assert np.isnan(shown).sum() == len(shown) * (len(shown) + 1) / 2
    depth = depth_at(TOKENS[-1])
    assert shown[-1, 0] == pytest.approx(-depth * LN[403:].mean(), abs=depth * 0.2)
    ((low, high),) = {axis.collections[0].get_clim() for axis in maps}
    assert high == 0
    assert -depth * np.log(512 / 10) <= low < -depth * np.log(512 / 10) * 0.8
    ring = only(maps[1], "the study's own")
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == pytest.approx((np.sqrt(40 * 60), np.sqrt(490 * 510)))


def test_scores_of_all_pairs_are_drawn_and_fall_fastest_together(demo):
    _, curves = split(draw(planted(inputs_of(demo))))
    axis = curves[1]
    for (early, late), words in zip(pairs_of(512), PAIR_WORDS, strict=True):
        width = LN[late[0] - 1 : late[1]].mean() - LN[early[0] - 1 : early[1]].mean()
        np.testing.assert_allclose(only(axis, words).get_ydata(), -depth_at(TOKENS) * width, rtol=1e-6)
        (at,) = only(axis, f"fastest: {words}").get_xdata()
        assert at == pytest.approx(CHANGE, abs=60 * TOKENS_A_STEP)
    assert len(bands(axis)) == 1


PAIR_WORDS = ("435–512 minus 9–12", "435–512 minus 43–57", "435–512 minus 87–115", "174–230 minus 43–57")


def test_the_study_s_own_score_is_that_of_its_table(demo):
    inputs = inputs_of(demo)
    _, curves = split(draw(inputs))
    for model, axis in zip(DEMO, curves, strict=True):
        expected = inputs.tables["curves"].filter(model=model.name).sort("step")["icl_windowed"]
        np.testing.assert_array_equal(only(axis, "the study's own").get_ydata(), expected)
    (at,) = only(curves[1], "fastest: the study's own").get_xdata()
    assert at == pytest.approx(4.8e6, abs=0.3e6)


@given(st.integers(8, 100_000))
def test_pairs_keep_their_places_in_examples_of_any_length(n_tokens):
    for (early, late), (low, high) in zip(
        pairs_of(n_tokens), ((10, 500), (50, 500), (100, 500), (50, 200)), strict=True
    ):
        for (first, last), index in ((early, low), (late, high)):
            middle = index * n_tokens / 512
            assert 1 <= first <= last <= n_tokens
            assert first - 1 <= middle <= last + 1


def test_the_place_of_the_fastest_fall_is_the_middle_of_the_change_but_never_the_start():
    tokens = np.arange(0, 101, dtype=float)
    assert fastest_fall(tokens, -1 / (1 + np.exp(-(tokens - 40.5) / 5))) == 40.5
    assert fastest_fall(tokens, np.exp(-tokens / 10)) is None
    both = 3 * np.exp(-tokens / 4) - 1 / (1 + np.exp(-(tokens - 60.5) / 4))
    assert fastest_fall(tokens, both) == 60.5
    assert fastest_fall(tokens, tokens) is None
    assert fastest_fall(tokens[:3], -tokens[:3]) is None


def test_seeds_are_one_line_their_mean(tmp_path):
    inputs = inputs_of(write_tables(tmp_path, SEEDS), SEEDS)
    _, curves = split(draw(inputs))
    assert len(curves) == 2
    table = inputs.tables["curves"].sort("model", "step")
    mean = np.mean([table.filter(model=model.name)["icl_windowed"].to_numpy() for model in SEEDS[3:]], axis=0)
    np.testing.assert_allclose(only(curves[1], "the study's own").get_ydata(), mean)


def test_more_architectures_than_fit_go_on_below(tmp_path):
    models = (*SIX, Planted(2, 4.8, family="mlp", label="with MLPs", d_mlp=512))
    maps, curves = split(draw(inputs_of(write_tables(tmp_path, models), models)))
    assert len(maps) == len(curves) == 7
    assert maps[6].get_position().y1 < curves[0].get_position().y0
    assert maps[6].get_title() == "with MLPs\n2 layers"


def test_models_without_snapshots_get_notes(demo, tmp_path):
    without = [path for path in demo if f"model={DEMO[1].name}" not in path.parts]
    _, empty = split(draw(inputs_of(without)))
    assert [notes(axis) for axis in empty if notes(axis)] == 2 * [["no snapshots\nmeasured yet"]]
    figure = draw(inputs_of(write_tables(tmp_path, DEMO[:1], steps=STEPS[:0]), DEMO[:1]))
    assert [notes(axis) for axis in figure.axes[:2]] == 2 * [["no snapshots\nmeasured yet"]]


def test_one_snapshot_is_a_map_and_no_mark(tmp_path):
    _, (curves,) = split(draw(inputs_of(write_tables(tmp_path, DEMO[1:2], steps=STEPS[-1:]), DEMO[1:2])))
    assert not [line for line in curves.lines if line.get_label().startswith("fastest")]
