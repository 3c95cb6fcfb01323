"""Figures of models that learn nothing: drawn, and what cannot be shown is a note."""

from dataclasses import replace
from importlib import import_module

import polars as pl
import pytest
from drawings import inputs_of, notes
from simulated_tables import Planted, write_tables

from induction.figures import panels
from induction.figures.stage import FIGURES

MODELS = (Planted(1, None), Planted(2, None))
LOSSES = ("loss", "mean_loss", "icl_score", "icl_windowed", "loss_by_index")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("demo"), MODELS)


def learned_nothing(inputs):
    """As the stages write it: the same losses at every snapshot, and no components."""
    tables = dict(inputs.tables)
    if "curves" in tables:
        ends = [f"{name}{end}" for name in LOSSES for end in ("", "_low", "_high")]
        same = [name for name in ends if name in tables["curves"].columns]
        tables["curves"] = tables["curves"].with_columns(pl.col(same).first())
    if "pca" in tables:
        empty = [pl.lit(None, pl.Float64).alias(f"pc{number}_explained") for number in (1, 2)]
        tables["pca"] = tables["pca"].with_columns(*empty, pc1=0.0, pc2=0.0)
    return replace(inputs, tables=tables)


@pytest.mark.parametrize("time", ["linear", "log"])
@pytest.mark.parametrize(
    "name", ["phase_change", "heat_maps", "pca", "model_analysis", "order_inversion", "model_page"]
)
def test_constant_losses_are_drawn(demo, name, time):
    inputs = learned_nothing(inputs_of(name, demo, MODELS))
    inputs = replace(inputs, settings=inputs.settings.model_copy(update={"time": time}))
    figure = import_module(FIGURES[name]).draw(inputs)
    figure.draw_without_rendering()
    said = [note for axis in figure.axes for note in notes(axis)]
    assert said.count(panels.NO_COMPONENTS) == (len(MODELS) if "pca" in inputs.tables else 0)
