"""The figure `case_studies`: the abstract task, and chosen heads on a text."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import simulated_tables
from drawings import drawn, in_rows, inputs_of, notes, only, points
from matplotlib.backends.backend_agg import FigureCanvasAgg
from simulated_tables import DEMO, N_HEADS, N_SHOWN, SEEDS, SIX, STEPS, Planted, write_tables

from induction.errors import InductionError
from induction.figures import theme
from induction.figures.case_studies import draw, square

ONE, TWO = DEMO[0], DEMO[1]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("both"), (ONE, TWO))


def split(axes):
    """Return the panels of the task, in rows, and the maps by their labels."""
    return in_rows(axes[:4], 2), {axis.get_label(): axis for axis in axes[4:]}


@pytest.mark.parametrize(("row", "x"), [(0, "prefix_matching"), (1, "on_labels")])
def test_every_head_is_a_point_against_chance_with_two_standard_errors(both, row, x):
    inputs, _, axes = drawn("case_studies", both, (ONE, TWO))
    axis = split(axes)[0][row, 1]
    heads = inputs.tables["heads"].filter(step=STEPS[-1]).select("model", "layer", "head", "prefix_matching")
    tasks = inputs.tables["pattern_tasks"].join(heads, on=["model", "layer", "head"]).filter(model=TWO.name)
    places = {"induction": [(1, 1)], "previous-token": [(0, 2)]}
    places["other"] = sorted({(layer, head) for layer in (0, 1) for head in range(N_HEADS)} - {(1, 1), (0, 2)})
    for kind, of_kind in places.items():
        rows = [tasks.filter(layer=layer, head=head).row(0, named=True) for layer, head in of_kind]
        offsets, _ = points(axis, kind)
        np.testing.assert_allclose(offsets, [(task[x], task["same_label"]) for task in rows])
    ends = np.concatenate(_bars(axis))
    values = np.sort(tasks["same_label"].to_numpy())
    np.testing.assert_allclose(np.sort(ends[:, 0]), values - 2 * 0.02, rtol=1e-5)
    np.testing.assert_allclose(np.sort(ends[:, 1]), values + 2 * 0.02, rtol=1e-5)
    np.testing.assert_allclose(only(axis, "chance").get_ydata(), 0.252, rtol=1e-6)
    assert axis.get_xlabel().endswith(f"{TWO.n_layers * N_HEADS} heads, 28 lines")
    low, high = axis.get_ylim()
    assert low < min(values[0], 0.252) < values[-1] < high


def _bars(axis):
    return [
        np.array([s[:, 1] for s in bars.get_segments()]) for bars in axis.collections if hasattr(bars, "get_segments")
    ]


def test_each_chosen_head_has_a_map_of_attention_and_one_of_attribution(both):
    inputs, _, axes = drawn("case_studies", both, (ONE, TWO))
    maps = split(axes)[1]
    heads = [f"{TWO.name} {kind}" for kind in ("induction", "previous-token", "other")]
    assert list(maps) == [f"{head} {value}" for head in heads for value in ("attention", "attribution")]
    rows = inputs.tables["case_studies"].filter(model=TWO.name, chosen="induction")
    for value in ("attention", "attribution"):
        axis = maps[f"{TWO.name} induction {value}"]
        shown = np.ma.filled(axis.images[0].get_array(), np.nan)
        assert shown.shape == (N_SHOWN, N_SHOWN + 1)
        for row in rows.sample(50, seed=1).to_dicts():
            column = 0 if row["key"] == 0 else row["key"] - 40
            assert shown[row["query"] - 41, column] == np.float32(row[value])
        assert np.isnan(shown).sum() == N_SHOWN * (N_SHOWN - 1) / 2


def test_tokens_name_rows_and_columns(both):
    inputs, _, axes = drawn("case_studies", both, (ONE, TWO))
    axis = split(axes)[1][f"{TWO.name} induction attention"]
    rows = inputs.tables["case_studies"].filter(model=TWO.name, chosen="induction")
    queries = rows.unique("query").sort("query")["query_text"]
    shown = [label.get_text() for label in axis.get_yticklabels()]
    assert shown == [theme.legible(text, blank="·") for text in queries]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["<start>", *shown]
    assert not any(label.get_parse_math() for label in axis.get_yticklabels())


def test_long_tokens_are_cut(both):
    inputs = inputs_of("case_studies", both, (TWO,))
    table = inputs.tables["case_studies"]
    long = table.with_columns(query_text=pl.when(query=41).then(pl.lit("abcdefghijk")).otherwise("query_text"))
    figure = draw(replace(inputs, tables=inputs.tables | {"case_studies": long}))
    axis = next(axis for axis in figure.axes if axis.get_label().endswith("induction attention"))
    assert axis.get_yticklabels()[0].get_text() == "abcdefg…"


def test_clearly_negative_attributions_are_dotted(both):
    _, _, axes = drawn("case_studies", both, (ONE, TWO))
    axis = split(axes)[1][f"{TWO.name} induction attribution"]
    shown = np.ma.filled(axis.images[0].get_array(), 0)
    low, high = axis.images[0].get_clim()
    assert low == -high
    dots, _ = points(axis, "negative")
    assert 0 < len(dots) < shown.size
    assert {(int(y), int(x)) for x, y in dots} == set(zip(*np.nonzero(shown < -0.1 * high), strict=True))


def test_the_corner_tells_the_heads_place_class_and_scores(both):
    inputs, figure, axes = drawn("case_studies", both, (ONE, TWO))
    maps = split(axes)[1]
    head = inputs.tables["heads"].filter(model=TWO.name, step=STEPS[-1], layer=1, head=1).row(0, named=True)
    assert notes(maps[f"{TWO.name} induction attention"]) == [
        f"attn-2l-s0, layer 1 head 1, induction\n"
        f"prefix matching {head['prefix_matching']:.2f}\ncopying {head['copying']:.2f}\nattention"
    ]
    assert notes(maps[f"{TWO.name} induction attribution"]) == ["added to the logit\nof the next token"]
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for axis in maps.values():
        (words,) = axis.texts
        box = words.get_window_extent(canvas.get_renderer()).transformed(axis.transData.inverted())
        row, column = max(box.y0, box.y1), min(box.x0, box.x1)
        assert column > row + 2, "the words lie on the map"


@pytest.mark.parametrize("n_shown", [40, 64])
def test_every_token_is_named_in_letters_that_can_be_read(tmp_path, monkeypatch, n_shown):
    monkeypatch.setattr(simulated_tables, "N_SHOWN", n_shown)
    _, figure, axes = drawn("case_studies", write_tables(tmp_path, (TWO,)), (TWO,))
    for axis in axes[2:]:
        for labels, length, n in (
            (axis.get_yticklabels(), axis.bbox.height, n_shown),
            (axis.get_xticklabels(), axis.bbox.width, n_shown + 1),
        ):
            assert len(labels) == n
            room = 72 * length / figure.dpi / n
            assert {4 <= label.get_fontsize() <= room for label in labels} == {True}


def test_tokens_of_rows_stand_outside_the_maps(both):
    _, figure, axes = drawn("case_studies", both, (ONE, TWO))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for axis in split(axes)[1].values():
        for label in axis.get_yticklabels():
            box = label.get_window_extent(canvas.get_renderer())
            assert box.x1 <= axis.bbox.x0 or box.x0 >= axis.bbox.x1
            assert box.x0 >= 0
            assert box.x1 <= figure.bbox.x1


def test_two_models_fit_a_page_and_a_half(both):
    _, figure, _ = drawn("case_studies", both, (ONE, TWO))
    assert figure.get_figwidth() == theme.WIDE
    assert figure.get_figheight() <= 1.5 * 9


@pytest.mark.parametrize("models", [(ONE,), (ONE, TWO), SIX])
def test_every_column_of_the_task_is_titled(tmp_path, models):
    _, _, axes = drawn("case_studies", write_tables(tmp_path, models), models)
    depths = [f"{model.n_layers} layer{'s' if model.n_layers > 1 else ''}" for model in models]
    a, b = axes[: len(models)], axes[len(models) : 2 * len(models)]
    assert [axis.get_title() for axis in a] == depths
    beside = axes[0].get_position().y0 == axes[len(models)].get_position().y0
    assert [axis.get_title() for axis in b] == (depths if beside else len(models) * [""])
    assert [axes[0].get_title(loc="left"), axes[len(models)].get_title(loc="left")] == ["a", "b"]


@pytest.mark.parametrize(
    ("models", "shown"),
    [
        (SIX, {"attn-6l-s0"}),
        (DEMO, {"attn-2l-s0", "smeared-2l-s0", "mlp-2l-s0"}),
        ((*DEMO[:2], Planted(4, None)), {"attn-2l-s0"}),
        ((ONE, Planted(2, None)), {"attn-2l-s0"}),
        ((ONE,), {"attn-1l-s0"}),
        ((Planted(2, None), Planted(2, 4.8, seed=1)), {"attn-2l-s1"}),
    ],
)
def test_maps_are_of_the_deepest_model_of_each_variant_one_with_a_window_first(tmp_path, models, shown):
    _, _, axes = drawn("case_studies", write_tables(tmp_path, models), models)
    assert {axis.get_label().split()[0] for axis in axes if axis.get_label()} == shown


def test_every_head_lies_inside_the_panels_of_the_task(tmp_path):
    inputs, _, axes = drawn("case_studies", write_tables(tmp_path, (ONE,)), (ONE,))
    for axis, column in zip(axes[:2], ("prefix_matching", "on_labels"), strict=True):
        table = inputs.tables["heads" if column == "prefix_matching" else "pattern_tasks"].filter(step=STEPS[-1])
        low, high = axis.get_xlim()
        assert low < 0 < table[column].max() < high - 0.03 * (high - low)


def test_a_model_without_maps_or_task_has_a_note(both):
    without = [path for path in both if f"model={TWO.name}" not in path.parts]
    _, _, axes = drawn("case_studies", without, (ONE, TWO))
    task, maps = split(axes)
    assert [notes(axis) for axis in task[:, 1]] == 2 * [["not measured yet"]]
    assert {label.split()[0] for label in maps} == {ONE.name}


def test_without_any_head_a_note_stands_for_the_maps(tmp_path):
    _, figure, axes = drawn("case_studies", write_tables(tmp_path, (TWO,), steps=STEPS[:0]), (TWO,))
    assert len(axes) == 2
    assert [text.get_text() for text in figure.texts] == ["No head is looked at yet."]


def test_seeds_share_the_task_and_the_first_has_the_maps(tmp_path):
    _, _, axes = drawn("case_studies", write_tables(tmp_path, SEEDS), SEEDS)
    task, maps = split(axes)
    assert len(points(task[0, 1], "induction")[0]) == 3
    assert task[0, 1].get_xlabel().endswith("24 heads, 28 lines")
    assert {label.split()[0] for label in maps} == {"attn-2l-s0"}


def test_a_square_has_no_value_where_there_is_no_row():
    rows = pl.DataFrame({"query": [5, 4, 5, 4, 5], "key": [5, 4, 0, 0, 4], "attention": [0.5, 0.9, 0.2, 0.1, 0.3]})
    np.testing.assert_array_equal(square(rows, "attention"), [[0.1, 0.9, np.nan], [0.2, 0.3, 0.5]])


def test_a_task_of_an_earlier_snapshot_than_the_last_is_not_measured_yet(both):
    inputs = inputs_of("case_studies", both, (TWO,))
    early = inputs.tables["pattern_tasks"].with_columns(step=pl.lit(0))
    task, _ = split(draw(replace(inputs, tables=inputs.tables | {"pattern_tasks": early})).axes)
    assert [notes(axis) for axis in list(task.flat)[:2]] == [["not measured yet"]] * 2


def test_a_task_of_a_later_snapshot_than_the_heads_is_refused(both):
    inputs = inputs_of("case_studies", both, (TWO,))
    late = inputs.tables["pattern_tasks"].with_columns(step=pl.lit(10**6))
    with pytest.raises(
        InductionError, match=r"pattern_tasks of model attn-2l-s0: .* step 1000000, .* heads is of step"
    ):
        draw(replace(inputs, tables=inputs.tables | {"pattern_tasks": late}))
