"""The page of one model: all its measurements, and a note where one is missing."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from drawings import bands, drawn, head_lines, inputs_of, legend_texts, lines, notes, only, same_line
from matplotlib.collections import LineCollection, QuadMesh
from simulated_tables import DEMO, SETTINGS_JSON, models_json, write_tables

from induction.figures import heat_maps, model_page, theme
from induction.figures.inputs import read_inputs

ONE, TWO, MLP = DEMO[0], DEMO[1], DEMO[4]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("demo"), DEMO)


def page_of(inputs):
    """The page's heading and its panels by title."""
    figure = model_page.draw(inputs)
    (page,) = figure.subfigs
    panels = [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]
    return page.get_suptitle(), {axis.get_title(): axis for axis in panels}, figure


def test_a_page_shows_the_rows_of_its_model(demo):
    inputs = inputs_of("model_page", demo, (TWO,))
    _, panels, figure = page_of(inputs)
    assert figure.get_figwidth() == 7.0
    assert len(panels) == 9
    tables = {name: frame.filter(model=TWO.name) for name, frame in inputs.tables.items()}
    same_line(only(panels["loss"], "loss"), tables["curves"], "loss")
    same_line(only(panels["in-context learning"], "icl_windowed"), tables["curves"], "icl_windowed")
    same_line(only(panels["prefix matching"], "best_prefix_matching"), tables["curves"], "best_prefix_matching")
    bins = heat_maps.binned(np.array(tables["curves"]["loss_by_index"].to_list()))
    for title, values in (("loss by token index", bins.loss), ("its derivative", bins.slope)):
        (mesh,) = [artist for artist in panels[title].collections if isinstance(artist, QuadMesh)]
        np.testing.assert_allclose(mesh.get_array(), values.T)
    (way,) = [artist for artist in panels["principal components"].collections if isinstance(artist, LineCollection)]
    np.testing.assert_array_equal(np.array(way.get_segments())[:, 0], tables["pca"].select("pc1", "pc2")[:-1])
    for title, n_heads in (
        ("prefix matching", 8),
        ("QK trace", 4),
        ("before-and-after, by head", 8),
        ("ICL without the head", 8),
    ):
        assert len(head_lines(panels[title])) == n_heads
        assert notes(panels[title]) == []
        window = tables["phases"].row(0, named=True)
        assert bands(panels[title]) == [pytest.approx((window["start_tokens"], window["end_tokens"]))]
    trace = tables["heads"].filter(layer=1, head=1)
    same_line(only(panels["QK trace"], "layer 1 head 1"), trace, "qk_trace")


def test_the_heading_tells_the_model_its_size_and_its_window(demo):
    (told,) = json.loads(models_json([TWO]))
    told |= {"corpus": "packages", "n_parameters": 131_072}
    inputs = read_inputs("model_page", model_page.NEEDS, demo, json.dumps([told]), SETTINGS_JSON, model_page.ARRAYS)
    heading, _, _ = page_of(inputs)
    start, end = (theme.tokens_text(tokens) for tokens in TWO.window)
    assert heading.splitlines() == [
        TWO.name,
        "attention-only, 2 layers, 131k parameters without embeddings, corpus packages, seed 0",
        f"phase change from {start} to {end} training tokens",
    ]


def test_the_heading_says_why_there_is_no_window_or_that_none_was_looked_for(demo):
    inputs = inputs_of("model_page", demo, (ONE,))
    assert page_of(inputs)[0].splitlines()[-1] == "no phase change: planted"
    phases = inputs.tables["phases"].clear()
    heading, panels, _ = page_of(replace(inputs, tables={**inputs.tables, "phases": phases}))
    assert heading.splitlines()[-1] == "phase change: not looked for yet"
    assert notes(panels["before-and-after, by head"]) == ["no heads\nablated yet"]


@pytest.mark.parametrize(("model", "why"), [(ONE, "1 layer"), (MLP, "MLPs")])
def test_what_a_model_cannot_have_is_a_note_without_a_scale(demo, model, why):
    _, panels, figure = page_of(inputs_of("model_page", demo, (model,)))
    assert notes(panels["QK trace"]) == [f"no QK trace\n({why})"]
    assert not panels["QK trace"].has_data()
    figure.draw_without_rendering()
    assert not any(label.get_visible() for label in panels["QK trace"].get_yticklabels())
    assert any(label.get_visible() for label in panels["loss"].get_yticklabels())


def test_a_trace_that_should_be_there_is_not_explained_away(demo):
    inputs = inputs_of("model_page", demo, (TWO,))
    heads = inputs.tables["heads"].with_columns(qk_trace=pl.lit(None, dtype=pl.Float32))
    _, panels, _ = page_of(replace(inputs, tables={**inputs.tables, "heads": heads}))
    assert notes(panels["QK trace"]) == ["no QK trace\n(not measured)"]


def test_a_model_that_is_not_measured_has_notes_alone(demo):
    inputs = inputs_of("model_page", demo, (TWO,))
    tables = {name: frame.clear() for name, frame in inputs.tables.items()}
    heading, panels, _ = page_of(replace(inputs, tables=tables))
    assert heading.splitlines()[0] == TWO.name
    for axis in panels.values():
        assert notes(axis)
        assert not axis.has_data()


def test_a_model_that_is_not_in_the_pca_says_so(demo):
    inputs = inputs_of("model_page", demo, (TWO,))
    _, panels, _ = page_of(replace(inputs, tables={**inputs.tables, "pca": inputs.tables["pca"].clear()}))
    assert notes(panels["principal components"]) == ["not in\nthe PCA"]
    assert lines(panels["loss"], "loss")


def test_each_layer_has_its_colour_in_the_legend_up_to_six(demo, tmp_path):
    _, result, _ = drawn("model_page", demo, (TWO,))
    assert {"head of layer 0", "head of layer 1"} <= {text.get_text() for text in legend_texts(result)}
    deep = replace(TWO, n_layers=7)
    _, result, _ = drawn("model_page", write_tables(tmp_path, (deep,)), (deep,))
    texts = {text.get_text() for text in legend_texts(result)}
    assert {"head of the first layer", "head of the last layer"} <= texts
    assert "head of layer 0" not in texts


def test_several_models_have_a_page_each(demo):
    _, result, axes = drawn("model_page", demo, (ONE, TWO))
    assert [page.get_suptitle().splitlines()[0] for page in result.subfigs] == [ONE.name, TWO.name]
    assert len(axes) == 18
