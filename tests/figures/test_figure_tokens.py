"""The figure `tokens`: losses by class of token, and passages laid out in equal cells."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from drawings import bands, drawn, in_rows, inputs_of, legend_texts, lines, notes, only, same_line
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from simulated_tables import BIG, DEMO, PIECES, SEEDS, SMEARED, STEPS, Planted, write_tables

from induction.figures import theme
from induction.figures.tokens import draw, lay_out

ONE, TWO, SMEARED_ONE, SMEARED_TWO, MLP = DEMO


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("demo"))


def split(axes, n_columns):
    """Return the panels over training, in rows, and the passages."""
    return in_rows(axes[: 2 * n_columns], n_columns), axes[2 * n_columns :]


# --- over training ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["continued", "broken", "other"])
def test_each_class_of_token_is_a_line_with_its_interval(demo, kind):
    inputs, _, axes = drawn("tokens", demo)
    panels, _ = split(axes, len(DEMO))
    rows = inputs.tables["repetitions"].filter((pl.col("class") == kind) & (pl.col("model") == TWO.name)).sort("step")
    for axis, column in zip(panels[:, 1], ("loss", "change"), strict=True):
        same_line(only(axis, kind), rows, column)
        number = [line.get_label() for line in axis.lines].index(kind)
        heights = set(axis.collections[number].get_paths()[0].vertices[:, 1])
        assert heights == set(rows[f"{column}_low"]) | set(rows[f"{column}_high"])


def test_without_a_window_there_is_a_loss_but_no_change(demo):
    _, _, axes = drawn("tokens", demo)
    panels, _ = split(axes, len(DEMO))
    assert len(panels[0, 0].lines) == 3
    assert notes(panels[1, 0]) == ["no phase change:\nnothing to\ncount from"]
    assert not panels[1, 0].lines
    assert not bands(panels[0, 0])


def test_the_window_is_a_band_in_both_rows(demo):
    inputs, _, axes = drawn("tokens", demo)
    window = inputs.tables["phases"].filter(model=TWO.name).row(0, named=True)
    for axis in split(axes, len(DEMO))[0][:, 1]:
        assert bands(axis) == [pytest.approx((window["start_tokens"], window["end_tokens"]))]


def test_all_that_comes_late_is_inside_the_panels(demo):
    inputs, _, axes = drawn("tokens", demo)
    loss, change = split(axes, len(DEMO))[0][:, 1]
    rows = inputs.tables["repetitions"]
    late = rows.filter(pl.col("tokens") >= 0.05 * pl.col("tokens").max())
    low, high = loss.get_ylim()
    assert low < late["loss_low"].min() < late["loss_high"].max() < high < rows["loss_high"].max()
    of_two = rows.filter((pl.col("model") == TWO.name) & (pl.col("tokens") >= TWO.window[0]))
    low, high = change.get_ylim()
    lasting = of_two.filter(pl.col("class") != "continued")
    assert low < lasting["change_low"].min() < of_two["change_high"].max() < high
    for line in references(change):
        late = line.get_ydata()[line.get_xdata() >= TWO.window[0]]
        assert low < late.min() < late.max() < high


def test_continued_tokens_may_leave_the_change_and_not_the_loss(demo):
    inputs, _, axes = drawn("tokens", demo, (ONE, TWO))
    loss, change = split(axes, 2)[0][:, 1]
    rows = inputs.tables["repetitions"].filter((pl.col("model") == TWO.name) & (pl.col("class") == "continued"))
    assert rows["change"].min() < change.get_ylim()[0]
    assert rows["loss_low"].min() > loss.get_ylim()[0]


def test_seeds_are_thin_beneath_their_mean(tmp_path):
    _, _, axes = drawn("tokens", write_tables(tmp_path, SEEDS), SEEDS)
    panels, passages = split(axes, 2)
    assert len(lines(panels[0, 1], "seed")) == 3 * 3
    thin = [
        line for line in lines(panels[0, 1], "seed") if line.get_color() == only(panels[0, 1], "broken").get_color()
    ]
    mean = np.mean([line.get_ydata() for line in thin], axis=0)
    np.testing.assert_allclose(only(panels[0, 1], "broken").get_ydata(), mean)
    assert {axis.get_label().split()[0] for axis in passages} == {"attn-2l-s0"}


def test_the_legend_says_how_many_tokens_a_class_has(demo):
    _, figure, _ = drawn("tokens", demo)
    said = [text.get_text() for text in legend_texts(figure)]
    assert {
        "continued: it followed its prefix before; 41,000 tokens",
        "broken: only others did; 23,000 tokens",
        "other: its prefix is new; 460,000 tokens",
        "the same in attention-only, 1 layer",
    } < set(said)


# --- against models without a window ----------------------------------------------------------------------------


def references(axis):
    return [line for line in axis.lines if " in " in line.get_label()]


def change_panels(tmp_path, models, change=None):
    """Draw `models`, their table `repetitions` altered by `change`; return the table and row b."""
    inputs = inputs_of("tokens", write_tables(tmp_path, models), models)
    table = inputs.tables["repetitions"]
    table = table if change is None else change(table)
    figure = draw(replace(inputs, tables=inputs.tables | {"repetitions": table}))
    n_columns = len(inputs.architectures)
    return table, [axis for axis in figure.axes if axis.get_label() != "<colorbar>"][n_columns : 2 * n_columns]


def at(tokens, losses, when):
    """Interpolate by hand."""
    for (left, low), (right, high) in pairwise(zip(tokens, losses, strict=True)):
        if left <= when <= right:
            return low + (high - low) * (when - left) / (right - left)
    raise AssertionError(when)


def start_of(model):
    """Training tokens of the last snapshot before a planted window."""
    tokens = STEPS * 2048
    return tokens[tokens <= model.window[0]].max()


@pytest.mark.parametrize("kind", ["continued", "broken", "other"])
def test_a_reference_is_its_loss_less_its_own_loss_where_the_window_starts(tmp_path, kind):
    start = start_of(TWO)

    def seldom(table):  # The shallow model has few snapshots, and none where the window starts.
        few = np.array([*STEPS[::7], STEPS[-1]])
        few = few[few * 2048 != start]
        return table.filter((pl.col("model") != ONE.name) | pl.col("step").is_in(few.tolist()))

    table, (_, panel) = change_panels(tmp_path, (ONE, TWO), seldom)
    rows = table.filter((pl.col("model") == ONE.name) & (pl.col("class") == kind)).sort("step")
    assert start not in rows["tokens"]
    line = only(panel, f"{kind} in 1 layer")
    np.testing.assert_array_equal(line.get_xdata(), rows["tokens"])
    origin = at(rows["tokens"], rows["loss"], start)
    np.testing.assert_allclose(line.get_ydata(), [loss - origin for loss in rows["loss"]], atol=1e-12)
    assert line.get_color() == only(panel, kind).get_color()
    assert line.get_linewidth() < only(panel, kind).get_linewidth()


def test_a_loss_that_falls_evenly_changes_by_its_slope_from_the_start(tmp_path):
    def even(table):
        falls = pl.when(pl.col("model") == ONE.name).then(5 - 2e-7 * pl.col("tokens")).otherwise("loss")
        return table.with_columns(loss=falls)

    _, (_, panel) = change_panels(tmp_path, (ONE, TWO), even)
    for line in references(panel):
        np.testing.assert_allclose(line.get_ydata(), -2e-7 * (line.get_xdata() - start_of(TWO)), atol=1e-12)
    assert len(references(panel)) == 3


def test_the_reference_of_seeds_is_a_mean_over_seeds_and_over_starts(tmp_path):
    table, (_, panel) = change_panels(tmp_path, SEEDS)
    of_ones = [
        table.filter((pl.col("model") == model.name) & (pl.col("class") == "broken")).sort("step")
        for model in SEEDS[:3]
    ]
    changes = [
        rows["loss"].to_numpy() - at(rows["tokens"], rows["loss"], start_of(two))
        for rows in of_ones
        for two in SEEDS[3:]
    ]
    assert len({start_of(two) for two in SEEDS[3:]}) == 3
    np.testing.assert_allclose(only(panel, "broken in 1 layer").get_ydata(), np.mean(changes, axis=0), atol=1e-12)


MLP_ONE = Planted(1, None, family="mlp", label="with MLPs", d_mlp=512)
LATE_TWO = Planted(2, None)
FOUR = Planted(4, 3.0)


@pytest.mark.parametrize(
    ("models", "titles"),
    [
        (DEMO, {TWO.name: "attention-only, 1 layer", SMEARED_ONE.name: "attention-only, 1 layer"}),
        (DEMO, {SMEARED_TWO.name: "attention-only, 1 layer", MLP.name: "attention-only, 1 layer", ONE.name: None}),
        ((ONE, TWO, MLP_ONE, MLP), {TWO.name: "attention-only, 1 layer", MLP.name: "with MLPs, 1 layer"}),
        ((ONE, LATE_TWO, FOUR), {FOUR.name: "1 layer", LATE_TWO.name: None}),
        ((LATE_TWO, FOUR), {FOUR.name: "2 layers"}),
        ((TWO, Planted(4, None)), {TWO.name: None}),
        ((TWO,), {TWO.name: None}),
        ((MLP_ONE, TWO), {TWO.name: None}),
        ((Planted(1, None, **SMEARED), TWO), {TWO.name: None}),
    ],
)
def test_references_are_shallow_models_without_a_window(tmp_path, models, titles):
    _, panels = change_panels(tmp_path, models)
    for model, panel in zip(models, panels, strict=True):
        if model.name in titles:
            title = titles[model.name]
            said = [line.get_label() for line in references(panel)]
            assert said == ([f"{kind} in {title}" for kind in ("continued", "broken", "other")] if title else [])


def is_one():
    return pl.col("model") == ONE.name


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.filter(~is_one() | (pl.col("tokens") < start_of(TWO))),
        lambda table: table.filter(~is_one() | (pl.col("tokens") > start_of(TWO))),
        lambda table: table.filter(~is_one()),
        lambda table: table.with_columns(n_tokens=pl.col("n_tokens") + is_one()),
    ],
    ids=["ends before the window", "begins after its start", "not measured", "other tokens"],
)
def test_without_the_same_tokens_and_training_there_is_no_reference(tmp_path, change):
    _, (_, panel) = change_panels(tmp_path, (ONE, TWO), change)
    assert only(panel, "broken").get_xdata().size == len(STEPS)
    assert not references(panel)


def test_a_reference_ends_where_the_deeper_model_does(tmp_path):
    last = STEPS[-5]
    _, (_, panel) = change_panels(tmp_path, (ONE, TWO), lambda t: t.filter(is_one() | (pl.col("step") <= last)))
    assert {line.get_xdata()[-1] for line in references(panel)} == {last * 2048}


# --- passages ---------------------------------------------------------------------------------------------------


def test_passages_are_of_the_deepest_model_of_each_variant_with_a_window(demo, tmp_path):
    _, _, axes = drawn("tokens", demo)
    models = [axis.get_label().split()[0] for axis in split(axes, len(DEMO))[1]]
    assert models == [name for name in (TWO.name, SMEARED_TWO.name, MLP.name) for _ in range(2)]
    _, _, axes = drawn("tokens", write_tables(tmp_path, BIG), BIG)
    models = [axis.get_label().split()[0] for axis in split(axes, len(BIG))[1]]
    assert models == [name for name in ("attn-6l-s0", "mlp-6l-s0") for _ in range(2)]


def test_a_passage_says_which_model_example_and_steps_it_shows(demo):
    inputs, _, axes = drawn("tokens", demo)
    axis = split(axes, len(DEMO))[1][1]
    row = inputs.tables["passages"].filter(model=TWO.name, passage=1).row(0, named=True)
    assert axis.get_title(loc="left") == (
        f"attn-2l-s0, example 18, step {row['step_after']} minus step {row['step_before']}"
    )


def test_tokens_are_coloured_by_their_change_and_bold_where_they_got_worse(demo):
    inputs, _, axes = drawn("tokens", demo)
    axis = split(axes, len(DEMO))[1][0]
    rows = inputs.tables["passages"].filter(model=TWO.name, passage=0).sort("index")
    (boxes,) = [artist for artist in axis.collections if isinstance(artist, PolyCollection)]
    pieces = lay_out(PIECES, int(axis.get_xlim()[1]))
    change = (rows["after"] - rows["before"]).to_numpy()
    np.testing.assert_array_equal(boxes.get_array(), [change[piece.token] for piece in pieces])
    centre, side = boxes.norm(0), [boxes.norm(value) for value in (-1, 1)]
    assert (centre, sum(side)) == (0.5, pytest.approx(1))
    shown = [piece for piece in pieces if piece.text.strip()]
    assert [text.get_text() for text in axis.texts] == [piece.text for piece in shown]
    weights = [text.get_fontweight() == "bold" for text in axis.texts]
    assert weights == [change[piece.token] > 0 for piece in shown]
    assert 0 < sum(weights) < len(weights)


def test_classes_are_underlined(demo):
    inputs, _, axes = drawn("tokens", demo)
    axis = split(axes, len(DEMO))[1][0]
    classes = inputs.tables["passages"].filter(model=TWO.name, passage=0).sort("index")["class"].to_list()
    pieces = lay_out(PIECES, int(axis.get_xlim()[1]))
    under = {artist.get_label(): artist for artist in axis.collections if isinstance(artist, LineCollection)}
    for kind in ("continued", "broken"):
        expected = [(piece.line, piece.column) for piece in pieces if classes[piece.token] == kind]
        starts = [tuple(segment[0]) for segment in under[kind].get_segments()]
        assert [(int(y), int(x)) for x, y in starts] == expected
    assert under["continued"].get_linestyle() != under["broken"].get_linestyle()


def test_a_character_is_as_wide_as_its_cell(demo):
    _, figure, axes = drawn("tokens", demo)
    figure.set_dpi(300)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    passages = split(axes, len(DEMO))[1]
    for axis in passages:
        across = axis.bbox.width / axis.get_xlim()[1]
        longest = max(axis.texts, key=lambda text: len(text.get_text()))
        width = longest.get_window_extent(canvas.get_renderer()).width / len(longest.get_text())
        assert width == pytest.approx(across, rel=0.06)
        assert axis.bbox.height / axis.get_ylim()[0] == pytest.approx(0.125 * figure.dpi)


def test_without_any_window_a_note_stands_for_the_passages(tmp_path):
    _, figure, axes = drawn("tokens", write_tables(tmp_path, (ONE,)), (ONE,))
    assert len(axes) == 2
    assert [text.get_text().split(":")[0] for text in figure.texts] == ["No phase change in any of these models"]


def test_tokens_that_do_not_change_have_the_middle_colour(demo):
    inputs = inputs_of("tokens", demo, (TWO,))
    still = inputs.tables["passages"].with_columns(after=pl.col("before"))
    figure = draw(replace(inputs, tables=inputs.tables | {"passages": still}))
    boxes = [artist for axis in figure.axes for artist in axis.collections if isinstance(artist, PolyCollection)]
    values = np.concatenate([box.norm(box.get_array()) for box in boxes if box.get_array() is not None])
    assert len(values) > len(PIECES)
    assert (values == 0.5).all()


TEXTS = st.lists(st.text(alphabet="ab \n\t$é中\u0301\u200b\r", min_size=1, max_size=12), max_size=12)


@given(TEXTS, st.integers(1, 9))
def test_pieces_stand_in_reading_order_in_cells_of_their_own(texts, n_columns):
    pieces = lay_out(texts, n_columns)
    cells = [(piece.line, piece.column + at) for piece in pieces for at in range(len(piece.text))]
    assert cells == sorted(set(cells))
    assert all(0 <= column < n_columns for _, column in cells)
    for token, text in enumerate(texts):
        assert "".join(piece.text for piece in pieces if piece.token == token) == theme.legible(text)


@given(TEXTS, st.integers(1, 9))
def test_a_newline_ends_its_line_and_nothing_else_but_lack_of_room_does(texts, n_columns):
    pieces = lay_out(texts, n_columns)
    for piece, following in pairwise(pieces):
        if piece.text.endswith("↵"):
            assert (following.line, following.column) == (piece.line + 1, 0)
        elif following.line > piece.line:
            assert piece.column + len(piece.text) + len(following.text) > n_columns


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" a\n", " a↵"),
        ("\tb", "⇥b"),
        ("中é", "□é"),
        ("e\u0301", "e□"),
        ("\x00", "□"),
        ("$x$", "$x$"),
        ("\\xe2", "\\xe2"),
    ],
)
def test_every_character_is_one_cell_that_the_font_has(text, shown):
    assert theme.legible(text) == shown
    assert len(theme.legible(text)) == len(text)


def test_a_space_can_be_shown():
    assert theme.legible(" a b", blank="·") == "·a·b"


def test_snapshots_outside_the_tables_leave_no_picture(tmp_path):
    _, _, axes = drawn("tokens", write_tables(tmp_path, (TWO,), steps=STEPS[:0]), (TWO,))
    assert [notes(axis) for axis in axes] == 2 * [["no snapshots\nmeasured yet"]]
