"""The figure `circuits`: weights against behaviour, and composition of every pair of heads."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from drawings import drawn, in_rows, inputs_of, lines, notes, only, points
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex, to_rgb
from simulated_tables import BIG, DEMO, N_HEADS, SEEDS, STEPS, write_tables

from induction.errors import InductionError
from induction.figures import panels, theme
from induction.figures.circuits import draw, matrix

ONE, TWO, _, _, MLP = DEMO


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("demo"))


@pytest.mark.parametrize(("row", "x", "y"), [(0, "ov_copying", "copying"), (1, "qk_trace", "prefix_matching")])
def test_each_head_is_a_point_by_class_and_depth(demo, row, x, y):
    inputs, _, axes = drawn("circuits", demo)
    axis = in_rows(axes, len(DEMO))[row, 1]
    heads = inputs.tables["heads"].filter(model=TWO.name, step=STEPS[-1]).drop_nulls(x).sort("layer", "head")
    expected = {"induction": (1, 1), "previous-token": (0, 2)}
    n_shown = 0
    for kind, colour in theme.CLASS_COLOURS.items():
        rows = [head for head in heads.to_dicts() if _kind(head, expected) == kind]
        if not rows:
            continue
        offsets, artist = points(axis, kind)
        np.testing.assert_array_equal(offsets, [(head[x], head[y]) for head in rows])
        assert {to_hex(edge).upper() for edge in artist.get_edgecolors()} == {colour}
        fills = [to_rgb(face) for face in artist.get_facecolors()]
        assert fills == [pytest.approx((1, 1, 1) if head["layer"] == 0 else to_rgb(colour)) for head in rows]
        n_shown += len(rows)
    assert n_shown == (TWO.n_layers if row == 0 else 1) * N_HEADS


def _kind(head, expected):
    return next((kind for kind, place in expected.items() if place == (head["layer"], head["head"])), "other")


def test_traces_are_asked_of_later_layers_without_mlps_alone(demo):
    _, _, axes = drawn("circuits", demo)
    row = in_rows(axes, len(DEMO))[1]
    said = [notes(axis) for axis in row]
    none = ["no QK trace:\nneeds earlier\nlayers, no MLPs"]
    assert said == [none, [], none, [], none]
    assert row[0].get_xlabel() == "QK trace"
    assert row[1].get_xlabel().endswith(f"n = {N_HEADS} heads")


def test_the_correlation_stands_below_with_the_number_of_heads(demo):
    inputs, _, axes = drawn("circuits", demo)
    heads = inputs.tables["heads"].filter(model=TWO.name, step=STEPS[-1])
    rank = spearman(heads["ov_copying"].to_list(), heads["copying"].to_list())
    assert axes[1].get_xlabel() == f"OV eigenvalues\nρ = {rank:.2f}\nn = 8 heads".replace("-", "−")


def ranks(values):
    return [
        np.mean([sum(other < value for other in values), sum(other <= value for other in values) - 1])
        for value in values
    ]


def spearman(first, second):
    """Pearson's correlation of mean ranks, by counting."""
    a, b = np.array(ranks(first)), np.array(ranks(second))
    a, b = a - a.mean(), b - b.mean()
    return (a @ b) / np.sqrt((a @ a) * (b @ b))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_the_rank_correlation_is_that_of_counted_ranks(pairs):
    rows = pl.DataFrame(
        {"x": [float(x) for x, _ in pairs], "y": [float(y) for _, y in pairs]}, schema={"x": float, "y": float}
    )
    said = panels.rank_correlation(rows, "x", "y")
    xs, ys = {x for x, _ in pairs}, {y for _, y in pairs}
    assert said.splitlines()[-1] == f"n = {len(pairs)} head{'' if len(pairs) == 1 else 's'}"
    if len(pairs) < 3 or len(xs) == 1 or len(ys) == 1:
        assert "ρ" not in said
    else:
        told = float(said.splitlines()[0].removeprefix("ρ = ").replace("−", "-"))
        assert told == pytest.approx(spearman([x for x, _ in pairs], [y for _, y in pairs]), abs=0.0051)


def test_heads_without_a_value_are_not_counted():
    rows = pl.DataFrame({"x": [1.0, None, 2.0, 3.0], "y": [1.0, 5.0, 2.0, 4.0]})
    assert panels.rank_correlation(rows, "x", "y") == "ρ = 1.00\nn = 3 heads"


@pytest.mark.parametrize(("row", "kind"), [(2, "k"), (3, "q"), (4, "v")])
def test_composition_is_a_map_of_later_by_earlier_heads(demo, row, kind):
    inputs, _, axes = drawn("circuits", demo)
    axis = in_rows(axes, len(DEMO))[row, 1]
    (image,) = axis.images
    shown = np.ma.filled(image.get_array(), np.nan)
    for pair in inputs.tables["compositions"].filter(model=TWO.name).to_dicts():
        assert shown[pair["late_head"], pair["early_head"]] == np.float32(pair[kind])
    assert shown.shape == (N_HEADS, N_HEADS)
    assert [label.get_text() for label in axis.get_yticklabels()] == ["1.0", "1.1", "1.2", "1.3"]
    assert list(only(axis, "x: previous-token").get_xdata()) == [2]
    assert list(only(axis, "y: induction").get_ydata()) == [1]
    assert not lines(axis, "x: induction")
    assert notes(in_rows(axes, len(DEMO))[row, 0]) == ["one layer:\nno pairs\nof heads"]


def test_all_maps_have_one_scale_from_chance_on(demo):
    inputs, _, axes = drawn("circuits", demo)
    ((low, high),) = {image.get_clim() for axis in axes for image in axis.images}
    greatest = inputs.tables["compositions"].select(pl.max_horizontal("k", "q", "v").max()).item()
    assert (low, high) == (0, pytest.approx(greatest))


def test_many_heads_are_named_by_their_layers(tmp_path):
    _, _, axes = drawn("circuits", write_tables(tmp_path, BIG[3:4]), BIG[3:4])
    assert [label.get_text() for label in axes[2].get_yticklabels()] == ["L1", "L2", "L3", "L4", "L5"]
    assert list(axes[2].get_xticks()) == [5.5 + 12 * layer for layer in range(5)]
    shown = np.ma.getmaskarray(axes[2].images[0].get_array())
    assert shown.shape == (60, 60)
    assert shown.sum() == 12 * 12 * (4 + 3 + 2 + 1)


def test_a_matrix_has_no_value_where_there_is_no_pair():
    rows = pl.DataFrame(
        [(0, 0, 1, 0, 0.1), (0, 0, 2, 0, 0.2), (1, 0, 2, 0, 0.3)],
        schema=["early_layer", "early_head", "late_layer", "late_head", "k"],
        orient="row",
    )
    early, late, values = matrix(rows.sample(fraction=1, shuffle=True, seed=0), "k")
    assert (early, late) == ([(0, 0), (1, 0)], [(1, 0), (2, 0)])
    np.testing.assert_array_equal(values, [[0.1, np.nan], [0.2, 0.3]])


def test_heads_of_all_seeds_are_points_and_the_map_says_whose_it_is(tmp_path):
    _, _, axes = drawn("circuits", write_tables(tmp_path, SEEDS), SEEDS)
    scores, traces, keys = in_rows(axes, 2)[:3, 1]
    assert len(points(scores, "induction")[0]) == len(points(traces, "induction")[0]) == 3
    assert scores.get_xlabel().endswith("n = 24 heads")
    assert keys.get_xlabel() == "earlier head\n(seed 0)"


def test_tables_of_different_snapshots_are_not_drawn_together(demo):
    inputs = inputs_of("circuits", demo, (TWO,))
    heads = inputs.tables["heads"]
    compositions = inputs.tables["compositions"]
    early, late = (compositions.with_columns(step=pl.lit(step)) for step in (STEPS[3], STEPS[-1] + 1))
    with pytest.raises(InductionError, match=rf"compositions of model attn-2l-s0: .* {STEPS[-1] + 1}, .* {STEPS[-1]}"):
        draw(replace(inputs, tables={"heads": heads, "compositions": late}))
    axes = draw(replace(inputs, tables={"heads": heads, "compositions": early})).axes
    assert [notes(axis) for axis in axes[2:5]] == 3 * [["not measured yet"]]


def test_a_part_that_is_not_given_is_not_taken_for_a_model_without_pairs(demo):
    without = [path for path in demo if not ("compositions" in path.parts and f"model={MLP.name}" in path.parts)]
    _, _, axes = drawn("circuits", without)
    assert [notes(axis) for axis in in_rows(axes, len(DEMO))[2:, 4]] == 3 * [["not measured yet"]]
