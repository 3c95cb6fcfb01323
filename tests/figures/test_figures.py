"""What is drawn equals what the tables hold: read back from the figure's artists, never from pixels."""

import json
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import pytest
from drawings import bands, drawn, head_lines, in_rows, legend_texts, lines, notes, only, same_line
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from simulated_tables import (
    BIG,
    DEMO,
    N_HEADS,
    SEEDS,
    SETTINGS_JSON,
    SIX,
    SMEARED,
    STEPS,
    Planted,
    models_json,
    write_tables,
)

from induction.errors import InductionError
from induction.figures import theme
from induction.figures.inputs import read_inputs
from induction.figures.stage import FIGURES, figure
from induction.study.analysis import Heads
from induction.study.config import FigureName
from induction.tables.classes import head_classes
from induction.tables.schemas import TABLES

ONE, TWO = DEMO[0], DEMO[1]
GRIDS = (
    "phase_change",
    "smeared_keys",
    "ablations",
    "pca",
    "tokens",
    "circuits",
    "idealised",
    "icl_indices",
    "heat_maps",
)
"""Figures with a column for each architecture, or a panel."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> list[Path]:
    return write_tables(tmp_path_factory.mktemp("demo"))


# --- what is drawn ----------------------------------------------------------------------------------------------


def test_the_phase_change_shows_every_score_of_the_tables(demo):
    inputs, _, axes = drawn("phase_change", demo, (ONE, TWO))
    score, matching, loss = in_rows(axes, 2)[:, 1]
    curves = inputs.tables["curves"].filter(model=TWO.name)
    for axis, column in ((score, "icl_windowed"), (score, "icl_score"), (loss, "loss")):
        same_line(only(axis, column), curves, column)
    same_line(only(loss, "loss of 1 layer"), inputs.tables["curves"].filter(model=ONE.name), "loss")
    assert len(head_lines(matching)) == TWO.n_layers * N_HEADS
    heads = inputs.tables["heads"].filter(model=TWO.name, layer=1, head=1).sort("step")
    same_line(only(matching, "layer 1 head 1"), heads, "prefix_matching")
    same_line(only(matching, "best_prefix_matching"), curves, "best_prefix_matching")


def test_induction_heads_are_coloured_and_the_best_is_bold(demo):
    _, _, axes = drawn("phase_change", demo, (ONE, TWO))
    matching = in_rows(axes, 2)[1, 1]
    for line in head_lines(matching):
        planted = line.get_label() == "layer 1 head 1"
        assert line.get_color() == theme.CLASS_COLOURS["induction" if planted else "other"]
        assert (line.get_linewidth() == theme.BOLD) == planted
    styles = {line.get_label()[:7]: line.get_linestyle() for line in head_lines(matching)}
    assert styles["layer 0"] != styles["layer 1"]


def test_the_loss_of_one_layer_stands_behind_the_others_alone(demo):
    _, _, axes = drawn("phase_change", demo, (ONE, TWO))
    loss_of_one, loss_of_two = in_rows(axes, 2)[2]
    assert not lines(loss_of_one, "loss of 1 layer")
    assert loss_of_two.lines.index(only(loss_of_two, "loss of 1 layer")) == 0


@pytest.mark.parametrize("name", ["phase_change", "smeared_keys", "ablations"])
def test_the_band_is_the_window_of_the_table_phases(demo, name):
    inputs, _, axes = drawn(name, demo, (ONE, TWO))
    window = inputs.tables["phases"].filter(model=TWO.name, signal="icl").row(0, named=True)
    for without, with_band in in_rows(axes, 2)[:4]:
        assert bands(without) == []
        assert bands(with_band) == [pytest.approx((window["start_tokens"], window["end_tokens"]))]


def test_the_interval_of_the_score_is_the_table_s(demo):
    inputs, _, axes = drawn("smeared_keys", demo, DEMO[:4])
    curves = inputs.tables["curves"].filter(model="smeared-1l-s0")
    (band,) = in_rows(axes, 2)[1, 0].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert set(curves["icl_windowed_low"]) | set(curves["icl_windowed_high"]) == set(heights)


def test_smeared_keys_are_a_row_a_family_and_a_column_a_depth(demo):
    inputs, _, axes = drawn("smeared_keys", demo)
    panels = in_rows(axes, 2)
    assert [axis.get_ylabel() for axis in panels[:, 0]] == [
        f"{label}\nICL score (nats)" for label in ("attention-only", "smeared keys", "with MLPs")
    ]
    assert [axis.get_title() for axis in panels[0]] == ["1 layer", "2 layers"]
    assert notes(panels[2, 0]) == ["not in\nthis study"]
    for model, axis in zip(DEMO, [*panels[:2].flat, panels[2, 1]], strict=True):
        same_line(only(axis, "icl_windowed"), inputs.tables["curves"].filter(model=model.name), "icl_windowed")
    assert len({only(axis, "icl_windowed").get_color() for axis in panels[:, 1]}) == 3


def test_pca_draws_each_way_by_time_with_its_window_and_the_others_behind(demo):
    inputs, _, axes = drawn("pca", demo)
    assert [axis.get_title() for axis in axes[:2]] == ["attention-only, 1 layer", "attention-only, 2 layers"]
    rows = inputs.tables["pca"].filter(model=TWO.name).sort("step")
    (way,) = [artist for artist in axes[1].collections if isinstance(artist, LineCollection)]
    segments = np.array(way.get_segments())
    np.testing.assert_array_equal(segments[:, 0], rows.select("pc1", "pc2").to_numpy()[:-1])
    assert (np.diff(way.get_array()) > 0).all()
    assert sum(len(lines(axes[1], model.name)) for model in DEMO) == len(DEMO) - 1
    window = inputs.tables["phases"].filter(model=TWO.name).row(0, named=True)
    for label, column in (("start of the window", "start_step"), ("end of the window", "end_step")):
        mark = only(axes[1], label)
        assert list(mark.get_xdata()) == rows.filter(step=window[column])["pc1"].to_list()
        assert not lines(axes[0], label)
    assert axes[0].get_ylabel() == "PC2, nats\n(16% of the variance)"
    assert axes[4].get_xlabel() == "PC1, nats\n(71% of the variance)"


def test_groups_of_the_pca_share_neither_axes_nor_models_behind(tmp_path):
    paths = write_tables(tmp_path, (ONE, TWO))
    whole = TABLES["pca"].read(paths[-1])
    other = pl.when(pl.col("model") == TWO.name).then(pl.lit("books")).otherwise(pl.col("group"))
    share = pl.when(pl.col("model") == TWO.name).then(0.5).otherwise(pl.col("pc1_explained"))
    whole = whole.with_columns(other.alias("group"), share.alias("pc1_explained"))
    TABLES["pca"].write(paths[-1], whole.to_dict(as_series=False))
    _, _, (first, second) = drawn("pca", paths, (ONE, TWO))
    assert not lines(first, TWO.name)
    assert not lines(second, ONE.name)
    assert not first.get_shared_x_axes().joined(first, second)
    assert [axis.get_xlabel() for axis in (first, second)] == [
        "PC1, nats\n(71% of the variance)",
        "PC1, nats\n(50% of the variance)",
    ]


# --- seeds ------------------------------------------------------------------------------------------------------


def test_seeds_are_one_column_thin_beneath_their_mean(tmp_path):
    inputs, _, axes = drawn("phase_change", write_tables(tmp_path, SEEDS), SEEDS)
    assert [len(architecture.models) for architecture in inputs.architectures] == [3, 3]
    score, matching, _ = in_rows(axes, 2)[:, 1]
    curves = [inputs.tables["curves"].filter(model=model.name)["icl_windowed"].to_numpy() for model in SEEDS[3:]]
    assert [line.get_linewidth() for line in lines(score, "seed")] == [theme.THIN] * 3
    np.testing.assert_allclose(only(score, "icl_windowed").get_ydata(), np.mean(curves, axis=0))
    assert len(bands(score)) == 3
    assert len(head_lines(matching)) == 3 * TWO.n_layers * N_HEADS
    best = np.mean([line.get_ydata() for line in lines(matching, "layer 1 head 1")], axis=0)
    np.testing.assert_allclose(only(matching, "mean of the best heads").get_ydata(), best, rtol=1e-6)


def test_the_mean_of_seeds_is_taken_over_the_time_they_share():
    early = (np.array([0.0, 2.0, 4.0]), np.array([0.0, 2.0, 4.0]))
    late = (np.array([1.0, 3.0, 5.0]), np.array([3.0, 5.0, 7.0]))
    tokens, values = theme.mean_of_seeds([early, late])
    np.testing.assert_array_equal(tokens, [1, 2, 3, 4])
    np.testing.assert_array_equal(values, tokens + 1)


def test_models_that_differ_in_what_figures_are_not_told_stand_for_themselves(demo):
    twice = json.dumps([{**json.loads(models_json([TWO]))[0], "name": name} for name in ("wide", "narrow")])
    inputs = read_inputs("smeared_keys", ("curves",), demo, twice, SETTINGS_JSON)
    assert [inputs.title(column) for column in inputs.architectures] == ["wide\n2 layers", "narrow\n2 layers"]


def test_seeds_of_each_value_of_another_swept_field_are_one_column(demo):
    told = json.loads(models_json([Planted(2, 4.8)]))[0]
    models = [
        {**told, "name": f"attn-2l-d{width}-s{seed}", "seed": seed, "swept": f"d_model {width}"}
        for width in (64, 128)
        for seed in (0, 1)
    ]
    inputs = read_inputs("pca", ("pca", "phases"), demo, json.dumps(models), SETTINGS_JSON)
    titles = [inputs.title(architecture) for architecture in inputs.architectures]
    assert titles == ["attention-only, d_model 64\n2 layers", "attention-only, d_model 128\n2 layers"]
    assert [len(architecture.models) for architecture in inputs.architectures] == [2, 2]


def test_a_family_that_sweeps_smeared_keys_has_a_column_for_each_kind(demo):
    models = (Planted(1, None), Planted(1, 1.1, **{**SMEARED, "family": "attn", "label": "attention-only"}))
    inputs = read_inputs("smeared_keys", ("curves",), demo, models_json(models), SETTINGS_JSON)
    variants = [architecture.variant for architecture in inputs.architectures]
    assert variants == ["attention-only, plain keys", "attention-only, smeared keys"]


# --- what is not there yet --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRIDS)
def test_a_model_without_rows_gets_a_note(tmp_path, name):
    paths = write_tables(tmp_path, (ONE, TWO))
    without_two = [path for path in paths if f"model={TWO.name}" not in path.parts and path.stem != "pca"]
    pca = tmp_path / "one" / "pca.parquet"
    write_tables(tmp_path / "one", (ONE,))[-1].rename(pca)
    _, _, axes = drawn(name, [*without_two, pca], (ONE, TWO))
    column = in_rows(axes, 2)[:, 1]
    assert all(notes(axis) for axis in column)
    assert not any(head_lines(axis) for axis in column)


@pytest.mark.parametrize("name", FIGURES)
def test_tables_without_rows_draw_notes(tmp_path, name):
    figure(name, write_tables(tmp_path, (TWO,), steps=STEPS[:0]), models_json([TWO]), SETTINGS_JSON, tmp_path / "a")


@pytest.mark.parametrize("name", FIGURES)
def test_a_single_snapshot_is_enough(tmp_path, name):
    drawn(name, write_tables(tmp_path, (TWO,), steps=STEPS[:1]), (TWO,))


@pytest.mark.parametrize("name", ["ablations", "class_thresholds"])
def test_a_model_whose_heads_are_scored_further_than_ablated_has_no_last_ablations_yet(tmp_path, name):
    paths = write_tables(tmp_path, (ONE, TWO))
    for path in paths:
        if "ablations" in path.parts and f"model={TWO.name}" in path.parts:
            rows = TABLES["ablations"].read(path).drop("model")
            TABLES["ablations"].write(path, rows.filter(pl.col("step") < pl.col("step").max()).to_dict(as_series=False))
    inputs, _, axes = drawn(name, paths, (ONE, TWO))
    one, two = inputs.architectures
    assert len(inputs.last_rows("ablations", one))
    assert inputs.last_rows("ablations", two).is_empty()
    assert any("ablat" in said for axis in axes for said in notes(axis))


def test_a_missing_table_is_named(demo, tmp_path):
    curves = [path for path in demo if "curves" in path.parts]
    with pytest.raises(InductionError, match=r"figure phase_change: needs table heads, phases.*Given: curves"):
        figure("phase_change", curves, models_json(DEMO), SETTINGS_JSON, tmp_path / "figure")


@pytest.mark.parametrize(
    ("name", "models", "settings", "told"),
    [
        ("phase_chang", models_json(DEMO), SETTINGS_JSON, "Did you mean phase_change"),
        ("pca", "[]", SETTINGS_JSON, "no models to show"),
        ("pca", "[{", SETTINGS_JSON, "--models: not JSON"),
        ("pca", '[{"name": "a"}]', SETTINGS_JSON, "models.0.family: this field is required"),
        ("pca", models_json(DEMO), '{"heads": {}}', "in_context: this field is required"),
    ],
)
def test_a_mistake_is_told(demo, tmp_path, name, models, settings, told):
    with pytest.raises(InductionError, match=told):
        figure(name, demo, models, settings, tmp_path / "figure")


# --- layout and files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("models", [(TWO,), DEMO, SIX, SEEDS, BIG], ids=["one", "demo", "six", "seeds", "big"])
def test_no_text_overlaps_another_or_leaves_the_figure(tmp_path, name, models):
    _, result, _ = drawn(name, write_tables(tmp_path, models), models)
    result.set_dpi(200)
    canvas = FigureCanvasAgg(result)
    canvas.draw()
    texts = [text for axis in result.axes for text in _shown_texts(axis)] + legend_texts(result)
    texts = [text for text in texts if text.get_text().strip()]
    boxes = np.array([text.get_window_extent(canvas.get_renderer()).extents for text in texts])
    lows, highs = boxes[:, :2], boxes[:, 2:]
    inside = (lows >= 0).all(1) & (highs <= [result.bbox.x1, result.bbox.y1]).all(1)
    assert inside.all(), f"{texts[int(np.argmin(inside))].get_text()!r} leaves the figure"
    slack = 1  # pixels: text is placed on whole ones
    overlaps = (lows[:, None] + slack < highs[None]).all(2) & (lows[None] + slack < highs[:, None]).all(2)
    np.fill_diagonal(overlaps, False)
    told = [(texts[a].get_text(), texts[b].get_text()) for a, b in np.argwhere(overlaps)]
    assert not told, f"these overlap: {told[:3]}"


def _shown_texts(axis):
    """Titles, labels, texts and the ticks' labels inside the limits."""
    yield from (axis.title, axis._left_title, axis._right_title, *axis.texts)
    if not axis.axison:
        return
    yield from (axis.xaxis.label, axis.yaxis.label)
    for side, limits in ((axis.xaxis, axis.get_xlim()), (axis.yaxis, axis.get_ylim())):
        for tick in side.get_major_ticks():
            if min(limits) <= tick.get_loc() <= max(limits):
                yield from (label for label in (tick.label1, tick.label2) if label.get_visible())


@pytest.mark.parametrize("name", ["phase_change", "smeared_keys", "ablations"])
def test_both_axes_say_their_units(demo, name):
    _, _, axes = drawn(name, demo)
    panels = in_rows(axes, 2 if name == "smeared_keys" else len(DEMO))
    over_tokens = panels[3] if name == "ablations" else panels[-1]
    assert {axis.get_xlabel() for axis in over_tokens} == {"training tokens"}
    assert all("nats" in axis.get_ylabel() or "share" in axis.get_ylabel() for axis in panels[:, 0])
    formatted = over_tokens[0].xaxis.get_major_formatter()
    assert formatted(4e6, 0) == "4M"


@pytest.mark.parametrize(("tokens", "text"), [(0, "0"), (500_000, "500k"), (4e6, "4M"), (2.5e9, "2.5B")])
def test_tokens_are_written_short(tokens, text):
    assert theme.tokens_text(tokens) == text


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_tables_give_the_same_bytes(demo, tmp_path, name):
    files = []
    for folder in ("first", "second"):
        figure(name, demo, models_json([ONE, TWO]), SETTINGS_JSON, tmp_path / folder / f"{name}-0.01")
        files.append({path.name: path.read_bytes() for path in sorted((tmp_path / folder).iterdir())})
    assert list(files[0]) == [f"{name}-0.01.{suffix}" for suffix in ("pdf", "png", "svg")], "a dot is no suffix"
    assert files[0] == files[1]


def test_the_configuration_and_the_captions_know_the_same_figures():
    captions = Path(__file__).parents[2] / "workflow" / "report"
    figures = set(FIGURES) - {"model_page"}  # a page for each model, asked for by the model's name
    assert figures == set(get_args(FigureName))
    assert set(FIGURES) <= {path.stem for path in captions.glob("*.rst")}


def test_classes_are_taken_at_the_last_snapshot_and_induction_comes_first():
    scores = [  # step, head, prefix matching, copying, previous token, class
        (1, 0, 0.9, 0.9, 0.0, None),
        (2, 0, 0.3, 0.1, 0.9, "induction"),
        (2, 1, 0.9, 0.0, 0.3, "previous-token"),
        (2, 2, 0.9, 0.0, 0.2, "other"),
    ]
    names = ("step", "head", "prefix_matching", "copying", "previous_token", "class")
    heads = pl.DataFrame(scores, schema=names, orient="row").with_columns(model=pl.lit("m"), layer=0)
    found = head_classes(heads.drop("class"), Heads())
    assert found["class"].to_list() == heads.filter(step=2)["class"].to_list()
