"""The figure `window_rules`: every value of every rule has its window, or a cross."""

import pytest
from drawings import drawn, notes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from simulated_tables import DEMO, OTHER_RULES, SEEDS, STEPS, write_tables

from induction.figures.window_rules import shade

ONE, TWO = DEMO[:2]
LINES = [line for rule, values in OTHER_RULES.items() for line in (rule, *(f"{value:g}" for value in values))]
USUAL = [2, 8, 14]
"""Lines of the study's own values: 1, 0.6 and 0.12."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("demo"))


def bars(axis):
    """Line of the panel, start and end of each window."""
    found = [patch for patch in axis.patches if isinstance(patch, Rectangle) and patch.get_label() != "usual"]
    return [(bar.get_y() + bar.get_height() / 2, bar.get_x(), bar.get_x() + bar.get_width()) for bar in found]


def crosses(axis):
    return [line for line in axis.lines if line.get_label().startswith("none: ")]


def test_a_line_a_value_has_the_window_that_the_table_tells(demo):
    inputs, _, axes = drawn("window_rules", demo)
    assert [label.get_text() for label in axes[0].get_yticklabels()] == LINES
    rows = inputs.tables["window_rules"].filter(model=TWO.name, found=True)
    drawn_bars = {round(y): (start, end) for y, start, end in bars(axes[1])}
    assert len(drawn_bars) == len(bars(axes[1])) == len(rows) == 12
    at = 0
    for rule, values in OTHER_RULES.items():
        for value in values:
            at += 1
            for row in rows.filter(rule=rule, value=value).to_dicts():
                assert drawn_bars[at] == pytest.approx((row["start_tokens"], row["end_tokens"]))
        at += 1


def test_midpoints_are_marked_and_the_usual_one_runs_through_all_lines(demo):
    inputs, _, axes = drawn("window_rules", demo)
    rows = inputs.tables["window_rules"].filter(model=TWO.name, found=True)
    marks = [artist.get_segments()[0][0][0] for artist in axes[1].collections]
    assert sorted(marks) == pytest.approx(sorted(rows["midpoint_tokens"]))
    through = {line.get_xdata()[0] for line in axes[1].lines if line.get_label() == "usual midpoint"}
    assert through == {4.8e6}


def test_a_value_without_a_window_has_a_cross_at_the_left(demo):
    _, _, axes = drawn("window_rules", demo)
    assert [line.get_label() for line in crosses(axes[1])] == ["none: min_icl_drop_nats 0.24"]
    assert crosses(axes[1])[0].get_ydata()[0] == len(LINES) - 1
    assert (len(crosses(axes[0])), bars(axes[0])) == (13, [])
    assert not [line for line in axes[0].lines if line.get_label() == "usual midpoint"]


def test_the_study_s_own_values_are_bold_on_grey(demo):
    _, _, axes = drawn("window_rules", demo)
    bold = [at for at, label in enumerate(axes[0].get_yticklabels()) if label.get_fontweight() == "bold"]
    assert bold == USUAL
    for axis in axes:
        grey = [patch for patch in axis.patches if patch.get_label() == "usual"]
        assert [patch.get_y() + 0.5 for patch in grey] == USUAL


def test_less_support_is_paler():
    colour = "#0072B2"
    assert shade(colour, 1.0) == pytest.approx(to_rgb(colour))
    shades = [sum(shade(colour, support)) for support in (1.0, 0.9, 0.6, 0.5)]
    assert shades == sorted(shades)
    assert shade(colour, 0.5) == shade(colour, 0.1)


def test_seeds_lie_below_each_other_within_their_line(tmp_path):
    inputs, _, (_, two) = drawn("window_rules", write_tables(tmp_path, SEEDS), SEEDS)
    first = sorted((y, start) for y, start, _ in bars(two) if round(y) == 1)
    starts = inputs.tables["window_rules"].filter(rule="smoothing_snapshots", value=0.5, found=True).sort("model")
    assert [start for _, start in first] == pytest.approx(starts["start_tokens"].to_list())
    assert len({y for y, _ in first}) == 3
    assert len(crosses(two)) == 3


def test_models_without_rows_get_notes(demo, tmp_path):
    without = [path for path in demo if f"model={TWO.name}" not in path.parts]
    _, _, axes = drawn("window_rules", without)
    assert [notes(axis) for axis in axes] == [[], ["no snapshots\nmeasured yet"], [], [], []]
    _, _, axes = drawn("window_rules", write_tables(tmp_path, (TWO,), steps=STEPS[:0]), (TWO,))
    assert [notes(axis) for axis in axes] == [["no snapshots\nmeasured yet"]]


def test_a_study_without_any_window_is_all_crosses(tmp_path):
    _, _, (axis,) = drawn("window_rules", write_tables(tmp_path, (ONE,)), (ONE,))
    assert (len(crosses(axis)), bars(axis)) == (13, [])
