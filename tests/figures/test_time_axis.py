"""The axis of training tokens, linear and logarithmic, read back from every figure that has one."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from drawings import bands, inputs_of, lines
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from simulated_tables import DEMO, STEPS, TOKENS_A_STEP, Planted, write_tables

from induction.figures import theme
from induction.figures.stage import FIGURES

OVER_TOKENS = (
    "phase_change",
    "heat_maps",
    "pca",
    "tokens",
    "smeared_keys",
    "ablations",
    "model_analysis",
    "order_inversion",
    "icl_indices",
    "model_page",
)
TWO = DEMO[:2]
FIRST, LAST = STEPS[1] * TOKENS_A_STEP, STEPS[-1] * TOKENS_A_STEP


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("demo"), TWO)


def panels_of(name, demo, time):
    inputs = inputs_of(name, demo, TWO)
    inputs = replace(inputs, settings=inputs.settings.model_copy(update={"time": time}))
    figure = import_module(FIGURES[name]).draw(inputs)
    return [axis for axis in figure.axes if axis.get_label() != "<colorbar>"], figure


def is_over_tokens(axis):
    """Told by the ticks' texts, which no other axis of the study has."""
    return axis.xaxis.get_major_formatter()(4e6, 0) == "4M"


@pytest.mark.parametrize("name", OVER_TOKENS)
def test_a_logarithmic_axis_starts_at_the_first_snapshot_after_step_0(demo, name):
    linear, logarithmic = panels_of(name, demo, "linear")[0], panels_of(name, demo, "log")[0]
    assert [is_over_tokens(axis) for axis in linear] == [is_over_tokens(axis) for axis in logarithmic]
    assert any(is_over_tokens(axis) for axis in linear) or name == "pca"
    for before, after in zip(linear, logarithmic, strict=True):
        assert before.get_xscale() == "linear" or not is_over_tokens(before)
        if is_over_tokens(after):
            assert after.get_xscale() == "log"
            low, high = after.get_xlim()
            assert 0.9 * FIRST < low <= FIRST
            assert LAST <= high < 1.1 * LAST
            assert bands(after) == bands(before)


def test_step_0_is_drawn_on_a_linear_axis_only(demo):
    for time, shown in (("linear", True), ("log", False)):
        axis = panels_of("phase_change", demo, time)[0][0]
        (line,) = lines(axis, "icl_windowed")
        assert line.get_xdata()[0] == 0
        assert bool(np.isfinite(axis.transData.transform((0, 0))[0])) == shown


@pytest.fixture(scope="module", params=[(0, 1), (1,), (0,)], ids=["0 and 1", "1", "0"])
def short(request, tmp_path_factory):
    """Two depths and two families of models without a window, of one or two snapshots."""
    models = (Planted(1, None), Planted(2, None), Planted(2, None, family="mlp", label="with MLPs", d_mlp=8))
    return write_tables(tmp_path_factory.mktemp("short"), models, np.array(request.param)), models


@pytest.mark.parametrize("name", OVER_TOKENS)
def test_a_logarithmic_axis_of_one_snapshot_or_none_is_drawn(short, name):
    """Tables of a training of one step: at most one snapshot has a place on the axis."""
    paths, models = short
    inputs = inputs_of(name, paths, models)
    inputs = replace(inputs, settings=inputs.settings.model_copy(update={"time": "log"}))
    figure = import_module(FIGURES[name]).draw(inputs)
    figure.draw_without_rendering()
    for axis in figure.axes:
        if axis.get_xscale() == "log":
            low, high = axis.get_xlim()
            assert 0 < low < high


@pytest.mark.parametrize(
    ("limits", "n_ticks", "texts"),
    [
        ((2e5, 5e6), 3, ["300k", "1M", "3M"]),
        ((2e5, 5e6), 5, ["200k", "500k", "1M", "2M", "5M"]),
        ((2e6, 2e10), 4, ["10M", "100M", "1B", "10B"]),
        ((2e6, 2e10), 2, ["100M", "10B"]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_round_and_few(limits, n_ticks, texts):
    axis = Figure().subplots()
    theme.tokens_axis(axis, n_ticks, "log")
    axis.set_xlim(*limits)
    inside = [tokens for tokens in axis.get_xticks() if limits[0] <= tokens <= limits[1]]
    assert [axis.xaxis.get_major_formatter()(tokens, 0) for tokens in inside] == texts
    assert axis.xaxis.get_minor_formatter()(3e5, 0) == ""


@pytest.mark.parametrize("name", ["pca", "model_analysis"])
def test_colours_of_time_go_by_the_same_axis(demo, name):
    for time, of_half in (("linear", 0.5), ("log", 1 - np.log(2) / np.log(LAST / FIRST))):
        panels, figure = panels_of(name, demo, time)
        ways = [artist for artist in panels[1].collections if isinstance(artist, LineCollection)]
        assert ways[0].norm(LAST / 2) == pytest.approx(of_half, abs=1e-6)
        assert ways[0].norm(LAST) == pytest.approx(1)
        (bar,) = [
            axis
            for axis in figure.axes
            if axis.get_label() == "<colorbar>" and "training tokens" in (axis.get_xlabel(), axis.get_ylabel())
        ]
        along = bar.xaxis if bar.get_xlabel() else bar.yaxis
        assert "M" in along.get_major_formatter()(4e6, 0)


def test_a_share_of_the_axis_is_past_halfway_between_its_ends():
    tokens = np.array([0, 100, 10_000])
    assert theme.shown_from(tokens, 0.5, "linear") == 5_000
    assert theme.shown_from(tokens, 0.5, "log") == pytest.approx(1_000)
    assert theme.shown_from(tokens[:0], 0.5, "log") == 0


def test_families_of_a_figure_have_different_colours():
    named = [theme.family_colour(family) for family in ("attn", "smeared", "mlp", "books", "warmup")]
    assert len(set(named)) == 5
    others = ["wide", "deep", "long", "short"]
    together = [theme.family_colour(family, others) for family in others]
    assert len({*named, *together}) == 9
    assert theme.family_colour("wide", ["attn"]) == theme.family_colour("wide")


@pytest.mark.parametrize("n_layers", [2, 6, 40])
def test_layers_get_darker_so_that_they_are_told_apart_in_grey(n_layers):
    greys = [np.dot(to_rgb(colour), (0.299, 0.587, 0.114)) for colour in theme.layer_colours(n_layers)]
    assert len(greys) == n_layers
    steps = np.diff(greys)
    assert (steps < 0).all()
    assert greys[0] - greys[-1] > 0.4
    assert theme.layer_colours(1) == theme.layer_colours(n_layers)[-1:]
