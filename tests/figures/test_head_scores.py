"""The figure `head_scores`: every head is where its scores and its layer put it, and is counted once."""

import numpy as np
import polars as pl
import pytest
from drawings import drawn, lines, notes, only, points
from simulated_tables import DEMO, N_HEADS, SEEDS, SIX, STEPS, write_tables

from induction.figures import theme
from induction.figures.head_scores import quadrants
from induction.study.analysis import Heads

ONE, TWO = DEMO[:2]


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("six"), SIX)


def last_heads(inputs, model):
    return inputs.tables["heads"].filter(model=model.name, step=STEPS[-1]).sort("layer", "head")


def test_a_head_stands_at_its_layer_and_the_line_joins_the_best_of_each(six):
    inputs, _, (above, _, _) = drawn("head_scores", six, SIX)
    for model in SIX[1:]:
        heads = last_heads(inputs, model)
        offsets, _ = points(above, f"{model.n_layers} layers")
        np.testing.assert_allclose(offsets[:, 0], heads["layer"] / (model.n_layers - 1))
        np.testing.assert_array_equal(offsets[:, 1], heads["prefix_matching"])
        line = only(above, f"best, {model.n_layers} layers")
        np.testing.assert_allclose(line.get_xdata(), np.linspace(0, 1, model.n_layers))
        by_layer = heads["prefix_matching"].to_numpy().reshape(model.n_layers, N_HEADS)
        np.testing.assert_array_equal(line.get_ydata(), by_layer.max(axis=1))
    assert set(points(above, "1 layer")[0][:, 0]) == {1}
    assert only(above, "threshold").get_ydata()[0] == Heads().induction_prefix_matching


def test_copying_is_drawn_against_prefix_matching_by_class_with_the_numbers_of_heads(six):
    inputs, _, (_, below, _) = drawn("head_scores", six, SIX)
    drawn_points = [artist for artist in below.collections if artist.get_label() in theme.CLASS_COLOURS]
    offsets = np.concatenate([np.asarray(artist.get_offsets()) for artist in drawn_points])
    heads = pl.concat([last_heads(inputs, model) for model in SIX])
    expected = heads.select("prefix_matching", "copying").to_numpy()
    np.testing.assert_array_equal(np.sort(offsets, axis=0), np.sort(expected, axis=0))
    n_induction = sum(len(artist.get_offsets()) for artist in drawn_points if artist.get_label() == "induction")
    counts = [int(text.get_text()) for text in below.texts]
    assert n_induction == counts[1] == 5
    assert sum(counts) == len(heads) == N_HEADS * 21
    across, up = lines(below, "threshold")
    assert (across.get_xdata()[0], up.get_ydata()[0]) == (0.3, 0)


def test_the_numbers_stand_beyond_all_scores_in_their_quarter(six):
    _, _, (_, below, _) = drawn("head_scores", six, SIX)
    places = [text.get_position() for text in below.texts]
    assert [(x > 0.3, y > 1, y < -1) for x, y in places] == [
        (False, True, False),
        (True, True, False),
        (False, False, True),
        (True, False, True),
    ]


def test_a_head_at_a_threshold_is_counted_as_its_class_is():
    scores = [(0.3, 0.1), (0.3, 0.0), (0.29, 0.0), (0.29, 0.1), (0.9, -0.5), (0.31, 0.5)]
    heads = pl.DataFrame(scores, schema=["prefix_matching", "copying"], orient="row")
    assert quadrants(heads, Heads()) == [1, 2, 1, 2]


def test_variants_have_a_column_each(tmp_path):
    _, _, axes = drawn("head_scores", write_tables(tmp_path))
    assert [axis.get_title() for axis in axes[:3]] == ["attention-only", "smeared keys", "with MLPs"]
    assert [sum(int(text.get_text()) for text in axis.texts) for axis in axes[3:6]] == [12, 12, 8]


def test_heads_of_all_seeds_are_points_and_the_best_lines_thin_beneath_their_mean(tmp_path):
    _, _, (above, below, _) = drawn("head_scores", write_tables(tmp_path, SEEDS), SEEDS)
    assert len(points(above, "2 layers")[0]) == 3 * 2 * N_HEADS
    assert [line.get_linewidth() for line in lines(above, "seed")] == [theme.THIN] * 6
    two = [line.get_ydata() for line in lines(above, "seed") if len(line.get_ydata()) == 2]
    np.testing.assert_allclose(only(above, "best, 2 layers").get_ydata(), np.mean(two, axis=0))
    assert sum(int(text.get_text()) for text in below.texts) == 3 * 3 * N_HEADS


def test_models_without_snapshots_get_notes_and_leave_the_others(tmp_path):
    paths = write_tables(tmp_path / "some", DEMO)
    without = [path for path in paths if f"model={DEMO[4].name}" not in path.parts]
    _, _, axes = drawn("head_scores", without)
    assert [notes(axes[at]) for at in (2, 5, 8)] == 3 * [["no snapshots\nmeasured yet"]]
    assert len(points(axes[0], "2 layers")[0]) == 2 * N_HEADS
    _, _, axes = drawn("head_scores", write_tables(tmp_path / "none", (TWO,), steps=STEPS[:0]), (TWO,))
    assert [notes(axis) for axis in axes] == 3 * [["no snapshots\nmeasured yet"]]


def test_one_layer_alone_is_drawn(tmp_path):
    _, _, (above, below, _) = drawn("head_scores", write_tables(tmp_path, (ONE,)), (ONE,))
    assert len(points(above, "1 layer")[0]) == N_HEADS
    assert [int(text.get_text()) for text in below.texts] == [N_HEADS, 0, 0, 0]


def test_a_head_is_a_line_over_periods_and_the_one_that_classifies_is_marked(six):
    inputs, _, (_, _, lowest) = drawn("head_scores", six, SIX)
    heads = [line for line in lowest.lines if " layer " in line.get_label()]
    assert len(heads) == N_HEADS * 21
    table = inputs.tables["periods"].filter(model=SIX[1].name, layer=1, head=1).sort("period")
    line = only(lowest, f"{SIX[1].name} layer 1 head 1")
    assert line.get_xdata().tolist() == [25, 100, 150]
    np.testing.assert_array_equal(line.get_ydata(), table["prefix_matching"])
    assert line.get_color() == theme.CLASS_COLOURS["induction"]
    assert only(lowest, "classifies").get_xdata()[0] == 25
    assert [text.get_text() for text in lowest.get_xticklabels()] == ["25", "100", "150"]
