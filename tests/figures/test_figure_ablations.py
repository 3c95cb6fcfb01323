"""The figure `ablations`: every head, by every choice of how to ablate, alone and with others; and what it concludes."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from drawings import drawn, errors, head_lines, in_rows, inputs_of, notes, only, same_line
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from simulated_tables import CHOICES, DEMO, N_HEADS, SEEDS, STEPS, planted_heads, write_tables

from induction.figures import theme
from induction.figures.ablations import conclusion, draw, others_below_zero

ONE, TWO = DEMO[0], DEMO[1]
CHOICE_NAMES = ("zero", "mean", "resample", "frozen")
KINDS = {(1, 1): "induction", (0, 2): "previous-token"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> list[Path]:
    return write_tables(tmp_path_factory.mktemp("demo"))


@pytest.mark.parametrize(
    ("row", "table", "mode", "column"),
    [
        (1, "ablations", "pattern-preserving", "icl_change"),
        (2, "ablations", "full", "icl_change"),
        (3, "attributions", "pattern-preserving", "before_after"),
    ],
)
def test_ablations_show_every_head_with_its_class_and_two_standard_errors(demo, row, table, mode, column):
    how = {"replacement": "zero", "norm": "recomputed"} if table == "ablations" else {}
    inputs, _, axes = drawn("ablations", demo)
    axis = in_rows(axes, len(DEMO))[row, 1]
    expected = {"layer 1 head 1": "induction", "layer 0 head 2": "previous-token"}
    assert len(head_lines(axis)) == len(axis.collections) == TWO.n_layers * N_HEADS
    for line, band in zip(head_lines(axis), axis.collections, strict=True):
        layer, head = int(line.get_label().split()[1]), int(line.get_label().split()[3])
        rows = inputs.tables[table].filter(model=TWO.name, mode=mode, layer=layer, head=head, **how).sort("step")
        same_line(line, rows, column)
        colour = theme.CLASS_COLOURS[expected.get(line.get_label(), "other")]
        assert line.get_color() == to_hex(band.get_facecolor()[0]).upper() == colour
        top = (rows[column] + 2 * rows[f"{column}_se"].cast(rows[column].dtype)).max()
        assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(top)
    np.testing.assert_array_equal(only(axis, "zero").get_ydata(), [0, 0])


@pytest.mark.parametrize(("choice", "how"), list(zip(CHOICE_NAMES, CHOICES, strict=True)))
def test_each_choice_shows_every_head_at_the_last_snapshot_with_two_standard_errors(demo, choice, how):
    inputs, _, axes = drawn("ablations", demo)
    axis = in_rows(axes, len(DEMO))[4, 1]
    ablations = inputs.tables["ablations"].filter(
        model=TWO.name, step=STEPS[-1], mode="pattern-preserving", replacement=how[0], norm=how[1]
    )
    number = CHOICE_NAMES.index(choice)
    assert axis.get_xticklabels()[number].get_text() == choice
    shown = {}
    for kind in theme.CLASS_COLOURS:
        label = f"{choice}: {kind}"
        line = only(axis, label)
        assert line.get_color() == theme.CLASS_COLOURS[kind]
        assert (np.abs(line.get_xdata() - number) < 0.5).all()
        rows = [row for row in ablations.sort("layer", "head").to_dicts() if _kind(row) == kind]
        np.testing.assert_array_equal(line.get_ydata(), [row["icl_change"] for row in rows])
        ends = [
            (row["icl_change"] - 2 * row["icl_change_se"], row["icl_change"] + 2 * row["icl_change_se"]) for row in rows
        ]
        np.testing.assert_allclose(errors(axis, label), ends)
        shown[kind] = len(rows)
    assert shown == {"induction": 1, "previous-token": 1, "other": TWO.n_layers * N_HEADS - 2}


def test_choices_that_were_not_made_are_not_on_the_axis(demo):
    inputs = inputs_of("ablations", demo, (TWO,))
    zero = inputs.tables["ablations"].filter(replacement="zero")
    figure = draw(replace(inputs, tables=inputs.tables | {"ablations": zero}))
    assert [label.get_text() for label in figure.axes[4].get_xticklabels()] == ["zero", "frozen"]


def test_the_panels_say_whether_the_conclusion_depends_on_the_choice(demo):
    _, _, axes = drawn("ablations", demo)
    said = [" ".join(axis.get_xlabel().split()) for axis in in_rows(axes, len(DEMO))[4]]
    first = ["every choice: no head costs anything"] + 4 * ["every choice: an induction head costs most"]
    assert [sentence.split(" below zero: ")[0] for sentence in said] == first


def test_the_panels_count_the_others_below_zero(demo):
    inputs, _, axes = drawn("ablations", demo)
    ends = inputs.tables["ablations"].filter(step=STEPS[-1], mode="pattern-preserving")
    for axis, model in zip(in_rows(axes, len(DEMO))[4], DEMO, strict=True):
        heads = planted_heads(model)["induction"]
        of_model = [row for row in ends.filter(model=model.name).to_dicts() if (row["layer"], row["head"]) not in heads]
        counts = [
            f"{choice} {sum((row['replacement'], row['norm']) == how and row['icl_change'] < 0 for row in of_model)}"
            for choice, how in zip(CHOICE_NAMES, CHOICES, strict=True)
        ]
        n_others = model.n_layers * N_HEADS - len(heads)
        lines = axis.get_xlabel().split("\n")
        start = next(number for number, line in enumerate(lines) if line.startswith("below"))
        assert " ".join(lines[start:]) == f"below zero: {', '.join(counts)} of {n_others} others"


def test_the_words_below_a_panel_touch_no_other_words(demo):
    inputs = inputs_of("ablations", demo)
    costliest = {("zero", "recomputed"): (1, 1), ("mean", "recomputed"): (0, 2), ("resample", "recomputed"): (0, 0)}
    costs = pl.lit(0.0)
    for (replacement, norm), (layer, head) in costliest.items():
        costs = pl.when(replacement=replacement, norm=norm, layer=layer, head=head).then(0.3).otherwise(costs)
    ablations = inputs.tables["ablations"].with_columns(
        icl_change=pl.when(model=TWO.name).then(costs).otherwise("icl_change")
    )
    figure = draw(replace(inputs, tables=inputs.tables | {"ablations": ablations}))
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    rows = in_rows(figure.axes, len(DEMO))
    assert rows[4, 1].get_xlabel().count("\n") > 8, "a long sentence"
    boxes = [axis.xaxis.label.get_window_extent(renderer) for axis in rows[4]]
    for box, after in itertools.pairwise(boxes):
        assert box.x1 < after.x0
    top = max(axis.get_tightbbox(renderer).y1 for axis in rows[5])
    assert min(box.y0 for box in boxes) >= top
    left = [axis.yaxis.label.get_window_extent(renderer) for axis in rows[:, 0]]
    for box, below in itertools.pairwise(left):
        assert box.y0 > below.y1
    heights = [axis.get_window_extent().height for axis in rows[:, 0]]
    assert min(heights) > 85, "in hundredths of an inch; a row is given 145 of them"


def test_heads_ablated_together_stand_beside_as_many_random_others(demo):
    inputs, _, axes = drawn("ablations", demo)
    axis = in_rows(axes, len(DEMO))[5, 1]
    sets = inputs.tables["set_ablations"].filter(
        model=TWO.name, step=STEPS[-1], mode="pattern-preserving", replacement="zero"
    )
    for place, kind in enumerate(theme.CLASS_COLOURS):
        for name in (kind, f"random-{kind}"):
            line = only(axis, name)
            rows = sets.filter(set_name=name)
            assert sorted(line.get_ydata()) == sorted(rows["icl_change"])
            assert (np.abs(line.get_xdata() - place) < 0.5).all()
            half = 2 * rows["icl_change_se"][0]
            np.testing.assert_allclose(np.ptp(errors(axis, name), axis=1), 2 * half)
        assert only(axis, kind).get_xdata().max() < only(axis, f"random-{kind}").get_xdata().min()
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "1", str(TWO.n_layers * N_HEADS - 2)]


def test_a_class_without_heads_is_a_set_of_none(demo):
    _, _, axes = drawn("ablations", demo)
    axis = in_rows(axes, len(DEMO))[5, 0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "0", str(N_HEADS)]
    assert {line.get_label() for line in axis.lines} == {"other", "random-other", "zero"}


def test_heads_of_all_seeds_are_points_of_one_panel(tmp_path):
    inputs, _, axes = drawn("ablations", write_tables(tmp_path, SEEDS), SEEDS)
    choices, together = in_rows(axes, 2)[4:, 1]
    effects = inputs.tables["ablations"].filter(
        pl.col("model").is_in([model.name for model in SEEDS[3:]]),
        step=STEPS[-1],
        mode="pattern-preserving",
        replacement="mean",
        layer=1,
        head=1,
    )
    np.testing.assert_array_equal(only(choices, "mean: induction").get_ydata(), effects.sort("model")["icl_change"])
    assert len(only(together, "random-induction").get_ydata()) == 3 * 3


def test_ablations_say_what_is_missing(tmp_path):
    _, _, axes = drawn("ablations", write_tables(tmp_path / "all", (ONE, TWO)), (ONE, TWO))
    assert notes(in_rows(axes, 2)[3, 0]) == ["no phase change:\nno before and after"]
    paths = write_tables(tmp_path / "none", (TWO,), steps=STEPS[:0])
    _, _, axes = drawn("ablations", paths, (TWO,))
    assert [notes(axis)[0].split()[0:2] for axis in axes] == [["no", "snapshots"]] + 5 * [["no", "heads"]]


# --- the conclusion ---------------------------------------------------------------------------------------------


def _kind(row):
    return KINDS.get((row["layer"], row["head"]), "other")


def effects_of(costs, error=0.01, model="m"):
    """A row a choice and head: of the induction head and of another, layer 0 head 2."""
    rows = [
        {"choice": choice, "model": model, "layer": layer, "head": head, "class": kind, "icl_change": cost}
        for choice, both in costs.items()
        for (layer, head, kind), cost in zip(((1, 1, "induction"), (0, 2, "other")), both, strict=True)
    ]
    return pl.DataFrame(rows).with_columns(icl_change_se=pl.lit(error))


@pytest.mark.parametrize(
    ("costs", "said"),
    [
        ({"zero": (0.3, 0.1), "mean": (0.2, 0.1)}, "every choice: an induction head costs most"),
        ({"zero": (0.1, 0.3), "mean": (0.1, 0.2)}, "every choice: another head (layer 0 head 2) costs most"),
        ({"zero": (0.019, -0.3), "mean": (0.01, 0.0)}, "every choice: no head costs anything"),
        (
            {"zero": (0.3, 0.1), "mean": (0.1, 0.3), "frozen": (0.3, 0.2)},
            "depends on the choice. zero, frozen: an induction head costs most; "
            "mean: another head (layer 0 head 2) costs most",
        ),
        (
            {"zero": (0.3, 0.1), "mean": (0.01, 0.01)},
            "depends on the choice. zero: an induction head costs most; mean: no head costs anything",
        ),
        ({"zero": (0.3, 0.1)}, "zero: an induction head costs most"),
        (  # sqrt(2) x 2 x 0.01 = 0.0283
            {"zero": (0.128, 0.1)},
            "zero: an induction head or another head (layer 0 head 2) costs most",
        ),
        ({"zero": (0.129, 0.1)}, "zero: an induction head costs most"),
        (
            {"zero": (0.1, 0.11), "mean": (0.1, 0.12)},
            "every choice: another head (layer 0 head 2) or an induction head costs most",
        ),
        (
            {"zero": (0.3, 0.1), "mean": (0.1, 0.11)},
            "no choice contradicts. zero: an induction head costs most; "
            "mean: another head (layer 0 head 2) or an induction head costs most",
        ),
        (
            {"zero": (0.3, 0.1), "mean": (0.1, 0.11), "frozen": (0.1, 0.3)},
            "depends on the choice. zero: an induction head costs most; mean: another head (layer 0 head 2) or an "
            "induction head costs most; frozen: another head (layer 0 head 2) costs most",
        ),
    ],
)
def test_the_conclusion_names_what_costs_most_under_each_choice(costs, said):
    assert conclusion(effects_of(costs)) == said


def test_every_head_that_costs_most_under_some_choice_is_named():
    third = effects_of({"zero": (0.0, 0.1), "mean": (0.0, 0.2)}).filter(pl.col("class") == "other")
    heads = pl.concat(
        [effects_of({"zero": (0.0, 0.2), "mean": (0.0, 0.1)}), third.with_columns(head=pl.lit(3, pl.Int64))]
    )
    assert conclusion(heads) == "every choice: another head (layer 0 head 2 or layer 0 head 3) costs most"


def test_a_head_of_the_same_class_is_no_rival():
    twins = effects_of({"zero": (0.1, 0.11)}).with_columns(pl.lit("previous-token").alias("class"))
    assert conclusion(twins) == "zero: a previous-token head (layer 0 head 2) costs most"


def test_seeds_that_agree_and_seeds_that_do_not_are_counted():
    alike = {"zero": (0.3, 0.1), "mean": (0.3, 0.1)}
    unlike = {"zero": (0.3, 0.1), "mean": (0.1, 0.3)}
    agree = pl.concat([effects_of(alike, model="a"), effects_of(alike, model="b")])
    assert conclusion(agree) == "every choice: an induction head costs most in 2 of 2 seeds"
    differ = pl.concat([effects_of(alike, model="a"), effects_of(unlike, model="b")])
    assert conclusion(differ) == (
        "depends on the choice. zero: an induction head costs most in 2 of 2 seeds; "
        "mean: an induction head costs most in 1 of 2 seeds, another head costs most in 1 of 2 seeds"
    )


def test_a_model_that_lacks_a_choice_is_not_judged_by_the_others():
    whole, part = {"zero": (0.3, 0.1), "mean": (0.3, 0.1)}, {"zero": (0.1, 0.3)}
    both = pl.concat([effects_of(whole, model="a"), effects_of(part, model="b")])
    assert conclusion(both) == "every choice: an induction head costs most"
    apart = pl.concat([effects_of({"zero": (0.3, 0.1)}, model="a"), effects_of({"mean": (0.3, 0.1)}, model="b")])
    assert conclusion(apart) == "no model has every choice yet"


def test_seeds_in_which_no_head_costs_anything_under_any_choice_contradict_nothing():
    nothing = effects_of({"zero": (0.01, 0.0), "mean": (0.0, 0.01)}, model="a")
    unsure = effects_of({"zero": (0.3, 0.1), "mean": (0.1, 0.11)}, model="b")
    said = conclusion(pl.concat([nothing, unsure]))
    assert said.startswith("no choice contradicts. zero: no head costs anything in 1 of 2 seeds, ")
    contrary = effects_of({"zero": (0.3, 0.1), "mean": (0.01, 0.0)}, model="b")
    assert conclusion(pl.concat([nothing, contrary])).startswith("depends on the choice. ")


def heads_of(changes, model="m"):
    """A row a choice and head, an induction head first, then others."""
    rows = [
        {"choice": choice, "model": model, "layer": 0, "head": head, "icl_change": change, "icl_change_se": 9.0}
        | {"class": ("induction", "previous-token", "other", "other")[head]}
        for choice, of_heads in changes.items()
        for head, change in enumerate(of_heads)
    ]
    return pl.DataFrame(rows)


def test_heads_that_are_no_induction_heads_are_counted_below_zero():
    zero, frozen = (-1.0, -0.1, -0.2, 0.3), (-1.0, 0.1, -0.001, 0.0)
    both = heads_of({"zero": zero, "frozen": frozen})
    assert others_below_zero(both) == "below zero: zero 2, frozen 1 of 3 others"
    seeds = pl.concat([both, heads_of({"zero": zero, "frozen": zero}, "n"), heads_of({"zero": zero}, "lacks one")])
    assert others_below_zero(seeds) == "below zero: zero 4, frozen 3 of 6 others"


def test_induction_heads_alone_leave_no_others_to_count():
    both = heads_of({"zero": (-1.0, -0.1, 0.2, 0.3)})
    assert others_below_zero(both.filter(pl.col("class") == "induction")) == ""
    apart = pl.concat([heads_of({"zero": (0.1,) * 4}, "m"), heads_of({"mean": (0.1,) * 4}, "n")])
    assert others_below_zero(apart) == ""
