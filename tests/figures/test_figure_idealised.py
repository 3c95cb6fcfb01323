"""The figure `idealised`: recovered shares beside the paper's, and the losses behind them."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from drawings import drawn, in_rows, inputs_of, lines, notes
from simulated_tables import DEMO, SEEDS, write_tables

from induction.figures import theme
from induction.figures.idealised import draw

ONE, TWO, SMEARED_ONE, SMEARED_TWO, MLP = DEMO
PATTERNS = ("previous token", "[A][B]…[A]", "[A][B]…[A] and [A][B][C]…[A][B]")
PAPERS = (0.99, 0.65, 0.75)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("demo"))


def segments(axis, label):
    return [segment for bars in axis.collections if bars.get_label() == label for segment in bars.get_segments()]


def test_each_share_stands_on_its_line_with_its_interval_and_the_papers(demo):
    inputs, _, axes = drawn("idealised", demo)
    shares, _ = in_rows(axes, 2)[1]
    names = [label.get_text().replace("\n", " ") for label in shares.get_yticklabels()]
    assert names == [
        f"{kind}: {pattern}"
        for kind, pattern in zip(("previous-token", "induction", "induction"), PATTERNS, strict=True)
    ]
    for number, pattern in enumerate(PATTERNS):
        row = inputs.tables["idealised"].filter(model=TWO.name, pattern=pattern).row(0, named=True)
        (point,) = lines(shares, pattern)
        assert (list(point.get_xdata()), list(point.get_ydata())) == ([row["recovered"]], [number])
        assert point.get_color() == theme.CLASS_COLOURS[row["class"]]
        (segment,) = segments(shares, pattern)
        np.testing.assert_allclose(segment, [(row["recovered_low"], number), (row["recovered_high"], number)])
    marks = [(line.get_xdata()[0], np.mean(line.get_ydata())) for line in lines(shares, "paper")]
    assert marks == [(share, pytest.approx(number)) for number, share in enumerate(PAPERS)]


def test_models_of_one_layer_are_not_held_to_the_papers_share(demo):
    _, _, axes = drawn("idealised", demo)
    shown = in_rows(axes, 2)[:, 0]
    assert [len(lines(axis, "paper")) for axis in shown] == [0, 3, 0, 3, 3]
    assert lines(shown[2], PATTERNS[1]), "SMEARED_ONE has an induction head"


def test_the_three_losses_stand_about_their_line(demo):
    inputs, _, axes = drawn("idealised", demo)
    _, losses = in_rows(axes, 2)[1]
    rows = {row["pattern"]: row for row in inputs.tables["idealised"].filter(model=TWO.name).to_dicts()}
    for value in ("loss", "loss_ideal", "loss_ablated"):
        shown = lines(losses, value)
        assert [line.get_xdata()[0] for line in shown] == [rows[pattern][value] for pattern in PATTERNS]
        assert [round(line.get_ydata()[0]) for line in shown] == [0, 1, 2]
        ends = [tuple(segment[:, 0]) for segment in segments(losses, value)]
        assert ends == [
            pytest.approx((rows[pattern][f"{value}_low"], rows[pattern][f"{value}_high"])) for pattern in PATTERNS
        ]


def test_heads_that_are_worth_nothing_have_no_share(demo):
    _, _, axes = drawn("idealised", demo)
    shares, _ = in_rows(axes, 2)[3]
    assert notes(shares) == ["worth nothing"]
    assert shares.texts[0].get_position()[1] == PATTERNS.index(PATTERNS[2])
    assert not lines(shares, PATTERNS[2])


def test_a_model_without_such_heads_and_one_not_measured_are_told_apart(demo):
    without = [path for path in demo if not ("idealised" in path.parts and f"model={MLP.name}" in path.parts)]
    _, _, axes = drawn("idealised", without)
    rows = in_rows(axes, 2)
    assert [notes(axis) for axis in rows[0]] == 2 * [["no previous-token heads\nand no induction heads"]]
    assert [notes(axis) for axis in rows[4]] == 2 * [["not measured yet"]]
    assert [axis.get_title() for axis in rows[[0, 4], 0]] == ["attention-only, 1 layer", "with MLPs, 2 layers"]


def test_the_range_holds_every_share_and_the_papers(demo):
    inputs = inputs_of("idealised", demo)
    table = inputs.tables["idealised"]
    poor = table.with_columns(recovered=pl.when(model=TWO.name, pattern=PATTERNS[0]).then(-0.6).otherwise("recovered"))
    for changed, reaches in ((table, (0, 1)), (poor, (-0.6, 1))):
        figure = draw(replace(inputs, tables={"idealised": changed}))
        limits = {axis.get_xlim() for axis in figure.axes[::2]}
        assert len(limits) == 1
        low, high = limits.pop()
        assert low < reaches[0] < reaches[1] < high
        assert reaches[0] - low < 0.2


def test_each_seed_has_a_point_of_its_own(tmp_path):
    _, _, axes = drawn("idealised", write_tables(tmp_path, SEEDS), SEEDS)
    shares, losses = in_rows(axes, 2)[1]
    (points,) = lines(shares, PATTERNS[1])
    heights = np.asarray(points.get_ydata())
    assert len(set(heights)) == 3
    assert np.mean(heights) == pytest.approx(1)
    assert np.abs(heights - 1).max() < 0.5
    every = [line.get_ydata()[0] for value in ("loss", "loss_ideal", "loss_ablated") for line in lines(losses, value)]
    assert len({round(height, 6) for height in every}) == 3 * 3 * 3
