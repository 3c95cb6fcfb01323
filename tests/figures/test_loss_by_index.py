"""The figure `loss_by_index`: losses that fall with ln(index), by as much as is planted."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from drawings import legend_texts, lines, notes, only
from hypothesis import given
from hypothesis import strategies as st
from simulated_tables import DEMO, SEEDS, SETTINGS_JSON, models_json, write_tables

from induction.figures import theme
from induction.figures.indices import BIN, log_bins, middles
from induction.figures.inputs import read_inputs
from induction.figures.loss_by_index import ARRAYS, NEEDS, draw

N_TOKENS = 512
LN = np.log(np.arange(1, N_TOKENS + 1))
LATE = slice(489, 510)
"""Tokens 490 to 510."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("demo"))


def inputs_with(paths, models, falls, **told):
    """Inputs whose loss is 6 nats less `falls[model]` for each unit of ln(index), whatever the snapshot."""
    as_told = [{**one, **{key: of[one["name"]] for key, of in told.items()}} for one in json.loads(models_json(models))]
    inputs = read_inputs("loss_by_index", NEEDS, paths, json.dumps(as_told), SETTINGS_JSON, ARRAYS)
    curves = inputs.tables["curves"]
    planted = [list(6 - falls.get(name, 0.0) * LN) for name in curves["model"]]
    return replace(inputs, tables={"curves": curves.with_columns(loss_by_index=pl.Series(planted))})


def in_bins(values):
    return [values[first - 1 : last].mean() for first, last in log_bins(N_TOKENS, BIN)]


def by_name(models, values):
    return {model.name: value for model, value in zip(models, values, strict=True)}


@given(st.integers(1, 5000), st.floats(0.05, 2))
def test_bins_hold_each_index_once_and_are_no_wider_than_told(n_tokens, width):
    bins = log_bins(n_tokens, width)
    assert [index for first, last in bins for index in range(first, last + 1)] == list(range(1, n_tokens + 1))
    assert all(np.log(last / first) <= width + 1e-6 for first, last in bins)
    assert all(np.log((last + 1) / first) > 0 for first, last in bins)
    starts = [np.floor(np.log(first) / width + 1e-9) for first, _ in bins]
    assert len(set(starts)) == len(starts)


def test_the_three_panels_show_what_is_planted(demo):
    falls = by_name(DEMO, (0.1, 0.3, 0.2, 0.4, 0.5))
    sizes = by_name(DEMO, (1, 2, 1, 2, 6))
    figure = draw(inputs_with(demo, DEMO, falls, n_parameters=sizes))
    gained, loss, gap = figure.axes
    assert [axis.get_xscale() for axis in figure.axes] == ["log"] * 3
    for label, name in (("attention-only, 1 layer", DEMO[0].name), ("smeared keys, 2 layers", DEMO[3].name)):
        fall = falls[name]
        line = only(loss, label)
        np.testing.assert_allclose(line.get_xdata(), middles(log_bins(N_TOKENS, BIN)))
        np.testing.assert_allclose(line.get_ydata(), in_bins(6 - fall * LN))
        np.testing.assert_allclose(only(gained, label).get_ydata(), in_bins(fall * (LN - LN[LATE].mean())), atol=1e-9)
        np.testing.assert_allclose(only(gap, label).get_ydata(), in_bins((0.5 - fall) * LN), atol=1e-9)
    assert gap.get_title() == "largest: with MLPs,\n2 layers"
    np.testing.assert_allclose(only(gap, "with MLPs, 2 layers").get_ydata(), 0)
    assert {axis.get_ylabel().endswith("(nats)") for axis in figure.axes} == {True}


def test_only_models_of_the_same_corpus_are_compared(demo):
    falls = by_name(DEMO, (0.1, 0.3, 0.2, 0.4, 0.5))
    corpora = by_name(DEMO, ("books", "books", "code", "code", "code"))
    sizes = by_name(DEMO, (9, 2, 1, 2, 6))
    figure = draw(inputs_with(demo, DEMO, falls, n_parameters=sizes, corpus=corpora))
    rows = np.array(figure.axes).reshape(2, 3)
    assert [axis.get_title().splitlines()[0] for axis in rows[:, 2]] == [
        "largest: attention-only,",
        "largest: with MLPs,",
    ]
    assert [len(axis.lines) for axis in rows[:, 1]] == [2, 3]
    assert [axis.get_ylabel().split(":")[0] for axis in rows[:, 0]] == ["books", "code"]
    np.testing.assert_allclose(only(rows[0, 2], "attention-only, 2 layers").get_ydata(), in_bins(-0.2 * LN), atol=1e-9)


def test_without_parameters_the_deepest_is_the_largest(demo):
    figure = draw(inputs_with(demo, DEMO[:2], by_name(DEMO[:2], (0.1, 0.3))))
    assert figure.axes[2].get_title().endswith("\n2 layers")


def test_families_differ_in_dashes_and_depths_in_shade_and_width(demo):
    figure = draw(inputs_with(demo, DEMO, by_name(DEMO, (0.1, 0.3, 0.2, 0.4, 0.5))))
    shown = {line.get_label(): line for line in figure.axes[1].lines}
    one, two, smeared = (shown[f"{label}"] for label in _LABELS)
    assert one.get_linestyle() == two.get_linestyle() != smeared.get_linestyle()
    assert one.get_linewidth() < two.get_linewidth()
    assert sum(one.get_color()) > sum(two.get_color())
    told = [text.get_text() for text in legend_texts(figure)]
    assert told == ["attention-only", "smeared keys", "with MLPs", "1 layer", "2 layers"]


_LABELS = ("attention-only, 1 layer", "attention-only, 2 layers", "smeared keys, 2 layers")


def test_seeds_are_thin_beneath_their_mean_and_compared_with_the_largest_s_mean(tmp_path):
    falls = by_name(SEEDS, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6))
    figure = draw(inputs_with(write_tables(tmp_path, SEEDS), SEEDS, falls))
    _, loss, gap = figure.axes
    assert {line.get_linewidth() for line in lines(loss, "seed")} == {theme.THIN}
    assert len(lines(loss, "seed")) == 6
    np.testing.assert_allclose(only(loss, "attention-only, 1 layer").get_ydata(), in_bins(6 - 0.2 * LN))
    np.testing.assert_allclose(only(gap, "attention-only, 1 layer").get_ydata(), in_bins(0.3 * LN), atol=1e-9)
    np.testing.assert_allclose(only(gap, "attention-only, 2 layers").get_ydata(), 0, atol=1e-9)


def test_one_model_has_nothing_to_be_compared_with_and_none_is_said(demo, tmp_path):
    figure = draw(inputs_with(demo, DEMO[1:2], {DEMO[1].name: 0.3}))
    assert [notes(axis) for axis in figure.axes] == [[], [], ["one size:\nnothing to compare"]]
    nothing = write_tables(tmp_path, DEMO[1:2], steps=np.array([], dtype=int))
    figure = draw(read_inputs("loss_by_index", NEEDS, nothing, models_json(DEMO[1:2]), SETTINGS_JSON, ARRAYS))
    assert [notes(axis) for axis in figure.axes] == 3 * [["no snapshots\nmeasured yet"]]


def test_the_largest_is_the_largest_of_those_measured(demo):
    without = [path for path in demo if f"model={DEMO[4].name}" not in path.parts]
    sizes = by_name(DEMO, (1, 2, 1, 3, 6))
    figure = draw(inputs_with(without, DEMO, by_name(DEMO, (0.1, 0.3, 0.2, 0.4, 0.5)), n_parameters=sizes))
    assert figure.axes[2].get_title() == "largest: smeared keys,\n2 layers"
