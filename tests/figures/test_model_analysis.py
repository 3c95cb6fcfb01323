"""The large table: every panel shows its model's rows, at 5 models and at the paper's 34, and no text meets another."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from drawings import bands, drawn, head_lines, in_rows, inputs_of, legend_texts, lines, notes, only, same_line
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, QuadMesh
from simulated_tables import DEMO, N_HEADS, SEEDS, SMEARED, STEPS, TOKENS_A_STEP, Planted, planted_heads, write_tables

from induction.figures import heat_maps, model_analysis, theme

MLPS = {"family": "mlp", "label": "with MLPs", "d_mlp": 512}
FULL = {"family": "full", "label": "full-scale, with MLPs", "d_mlp": 512}
BOOKS = {"family": "books", "label": "attention-only, on books"}


def series(depths, **family):
    return tuple(Planted(n_layers, None if n_layers == 1 else 6 - 0.1 * n_layers, **family) for n_layers in depths)


PAPERS = (
    *series(range(1, 7)),
    *series(range(1, 7), **MLPS),
    *series((4, 6, 8, 10, 12, 14), **FULL),
    *series((1, 2), family="plain", label="plain keys"),
    *series((1, 2), **SMEARED),
    *series(range(1, 7), **BOOKS),
    *series(range(1, 7), family="books-mlp", label="books, with MLPs", d_mlp=512),
)
"""As many models as the paper's, in as many families."""
N_PAPERS = 34

WAY, LOSS, LOSS_MAP, SLOPE_MAP, ICL, MATCHING, TRACE, BEFORE_AFTER, CHANGE = range(9)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return drawn("model_analysis", write_tables(tmp_path_factory.mktemp("demo"), DEMO))


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("papers"), PAPERS, steps=STEPS[::6])


def columns_of(axes, n_models):
    """The panels, [row, model], of bands that lie below each other."""
    n_bands = -(-n_models // 9)
    sizes = [len(part) for part in np.array_split(np.arange(n_models), n_bands)]
    ends = np.cumsum([9 * size for size in sizes])
    return np.concatenate([in_rows(part, size) for part, size in zip(np.split(axes, ends[:-1]), sizes, strict=True)], 1)


@pytest.mark.parametrize("at", range(len(DEMO)))
def test_each_column_shows_the_rows_of_its_model(demo, at):
    inputs, _, axes = demo
    model, column = DEMO[at], in_rows(axes, len(DEMO))[:, at]
    tables = {name: frame.filter(model=model.name) for name, frame in inputs.tables.items()}
    same_line(only(column[LOSS], "loss"), tables["curves"], "loss")
    same_line(only(column[ICL], "icl_windowed"), tables["curves"], "icl_windowed")
    (way,) = [artist for artist in column[WAY].collections if isinstance(artist, LineCollection)]
    np.testing.assert_array_equal(np.array(way.get_segments())[:, 0], tables["pca"].select("pc1", "pc2")[:-1])
    bins = heat_maps.binned(np.array(tables["curves"]["loss_by_index"].to_list()))
    for row, values in ((LOSS_MAP, bins.loss), (SLOPE_MAP, bins.slope)):
        (mesh,) = [artist for artist in column[row].collections if isinstance(artist, QuadMesh)]
        np.testing.assert_allclose(mesh.get_array(), values.T)
    kept = {"mode": "pattern-preserving"}
    for row, table, score, only_rows in (
        (MATCHING, "heads", "prefix_matching", {}),
        (TRACE, "heads", "qk_trace", {}),
        (BEFORE_AFTER, "attributions", "before_after", kept),
        (CHANGE, "ablations", "icl_change", {**kept, "replacement": "zero", "norm": "recomputed"}),
    ):
        rows = tables[table].filter(**only_rows).drop_nulls(score).filter(pl.col(score).is_not_nan())
        of_heads = rows.partition_by("layer", "head", as_dict=True)
        shown = {line.get_label(): line for line in head_lines(column[row])}
        assert len(shown) == len(of_heads)
        assert bool(of_heads) != bool([note for note in notes(column[row]) if "≤" not in note])
        for (layer, head), of_head in of_heads.items():
            same_line(shown[f"layer {layer} head {head}"], of_head, score)
            assert shown[f"layer {layer} head {head}"].get_color() == theme.layer_colours(model.n_layers)[layer]


def test_the_planted_heads_are_the_extreme_lines(demo):
    _, _, axes = demo
    for model, column in zip(DEMO, in_rows(axes, len(DEMO)).T, strict=True):
        for place in planted_heads(model)["induction"]:
            name = "layer {} head {}".format(*place)
            for row, extreme in ((MATCHING, np.argmax), (BEFORE_AFTER, np.argmin), (CHANGE, np.argmax)):
                shown = head_lines(column[row])
                last = [line.get_ydata()[-1] for line in shown]
                assert shown[int(extreme(last))].get_label() == name


def test_a_missing_view_says_why(demo):
    _, _, axes = demo
    rows = in_rows(axes, len(DEMO))
    one, mlp = 0, 4
    assert notes(rows[TRACE, one]) == ["no QK trace\n(1 layer)"]
    assert notes(rows[TRACE, mlp]) == ["no QK trace\n(MLPs)"]
    assert notes(rows[BEFORE_AFTER, one]) == ["no window:\nno before\nand after"]
    assert notes(rows[CHANGE, one]) == []


def test_windows_are_bands_and_edges_of_the_maps(demo):
    inputs, _, axes = demo
    for model, column in zip(DEMO, in_rows(axes, len(DEMO)).T, strict=True):
        window = inputs.tables["phases"].filter(model=model.name).row(0, named=True)
        expected = (window["start_tokens"], window["end_tokens"])
        for row in (LOSS, ICL, MATCHING, CHANGE):
            assert bands(column[row]) == ([pytest.approx(expected)] if window["found"] else [])
        for row in (LOSS_MAP, SLOPE_MAP):
            edges = [line.get_xdata()[0] for line in column[row].lines]
            assert edges == (list(expected) if window["found"] else [])


def test_panels_of_a_row_have_one_scale_but_a_trace_tells_its_own(demo):
    inputs, _, axes = demo
    rows = in_rows(axes, len(DEMO))
    assert len({axis.get_xlim() for axis in rows[1:].flat}) == 1
    for row in (WAY, LOSS, LOSS_MAP, SLOPE_MAP, ICL, MATCHING, BEFORE_AFTER, CHANGE):
        assert len({axis.get_ylim() for axis in rows[row]}) == 1
        low, high = rows[row, 0].get_ylim()
        for line in (line for axis in rows[row] for line in head_lines(axis)):
            assert low <= min(line.get_ydata())
            assert max(line.get_ydata()) <= high
    top = inputs.tables["heads"].filter(model=DEMO[1].name)["qk_trace"].drop_nulls().drop_nans().max()
    assert notes(rows[TRACE, 1]) == [f"≤ {theme.tokens_text(top)}"]


def test_a_group_has_its_own_components_and_so_its_own_scale(papers):
    inputs, _, axes = drawn("model_analysis", papers, PAPERS)
    ways = columns_of(axes, N_PAPERS)[WAY]
    scales = {"books": set(), "packages": set()}
    for model, axis in zip(PAPERS, ways, strict=True):
        group = "books" if model.family == "books" else "packages"
        limits = (*axis.get_xlim(), *axis.get_ylim())
        scales[group].add(limits)
        of_group = inputs.tables["pca"].filter(group=group)
        assert limits[0] < of_group["pc1"].min() < of_group["pc1"].max() < limits[1]
        assert limits[2] < of_group["pc2"].min() < of_group["pc2"].max() < limits[3]
    assert [len(found) for found in scales.values()] == [1, 1]


def test_the_papers_models_are_bands_of_at_most_nine_as_wide_as_a_page(papers):
    inputs, result, axes = drawn("model_analysis", papers, PAPERS)
    assert len(axes) == 9 * N_PAPERS
    assert result.get_figwidth() == 7.0
    rows = columns_of(axes, N_PAPERS)
    tops = [axis.get_position().y1 for axis in rows[LOSS]]
    assert max(np.unique(np.round(tops, 6), return_counts=True)[1]) <= 9
    for model, column in zip(PAPERS, rows.T, strict=True):
        same_line(only(column[LOSS], "loss"), inputs.tables["curves"].filter(model=model.name).sort("step"), "loss")
        assert len(head_lines(column[MATCHING])) == model.n_layers * N_HEADS
        assert column[WAY].get_title().split("\n")[-1] == f"{model.n_layers} layer{'s' if model.n_layers > 1 else ''}"


@pytest.mark.parametrize("time", ["linear", "log"])
def test_no_text_of_the_papers_models_meets_another_or_is_too_small_to_print(papers, time):
    inputs = inputs_of("model_analysis", papers, PAPERS)
    inputs = replace(inputs, settings=inputs.settings.model_copy(update={"time": time}))
    result = model_analysis.draw(inputs)
    result.set_dpi(150)
    canvas = FigureCanvasAgg(result)
    canvas.draw()
    texts = [text for axis in result.axes for text in texts_of(axis) if text.get_text()] + legend_texts(result)
    assert len(texts) > 3 * N_PAPERS
    assert min(text.get_fontsize() for text in texts) >= 5.5
    boxes = np.array([text.get_window_extent(canvas.get_renderer()).extents for text in texts])
    lows, highs = boxes[:, :2] + 0.5, boxes[:, 2:] - 0.5
    assert (lows > 0).all()
    assert (highs < [result.bbox.x1, result.bbox.y1]).all()
    meets = (lows[:, None] < highs[None]).all(2) & (lows[None] < highs[:, None]).all(2)
    pairs = [(texts[a].get_text(), texts[b].get_text()) for a, b in np.argwhere(np.triu(meets, 1))]
    assert not pairs, pairs[:3]


def texts_of(axis):
    yield from (axis.title, axis.xaxis.label, axis.yaxis.label, *axis.texts)
    for side, limits in ((axis.xaxis, axis.get_xlim()), (axis.yaxis, axis.get_ylim())):
        for tick in side.get_major_ticks():
            if min(limits) <= tick.get_loc() <= max(limits) and tick.label1.get_visible():
                yield tick.label1


def test_seeds_are_thin_lines_of_one_column(tmp_path):
    inputs, _, axes = drawn("model_analysis", write_tables(tmp_path, SEEDS), SEEDS)
    column = in_rows(axes, 2)[:, 1]
    assert len(lines(column[LOSS], "seed")) == 3
    assert len([artist for artist in column[WAY].collections if isinstance(artist, LineCollection)]) == 3
    assert len(head_lines(column[MATCHING])) == 3 * 2 * N_HEADS
    first = inputs.tables["curves"].filter(model=SEEDS[3].name).sort("step")
    (mesh,) = [artist for artist in column[LOSS_MAP].collections if isinstance(artist, QuadMesh)]
    np.testing.assert_allclose(mesh.get_array(), heat_maps.binned(np.array(first["loss_by_index"].to_list())).loss.T)


def test_a_model_without_snapshots_has_notes_alone(tmp_path):
    paths = [path for path in write_tables(tmp_path, DEMO[:2]) if f"model={DEMO[1].name}" not in path.parts]
    inputs = inputs_of("model_analysis", paths, DEMO[:2])
    pca = inputs.tables["pca"].filter(pl.col("model") != DEMO[1].name)
    result = model_analysis.draw(replace(inputs, tables={**inputs.tables, "pca": pca}))
    rows = in_rows([axis for axis in result.axes if axis.get_label() != "<colorbar>"], 2)
    for axis in rows[:, 1]:
        assert notes(axis)
        assert not axis.has_data()
    assert only(rows[LOSS, 0], "loss").get_xdata()[-1] == STEPS[-1] * TOKENS_A_STEP
