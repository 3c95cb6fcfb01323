"""Draw figures of simulated tables and read back what they show, from the artists, never from pixels."""

import importlib

import numpy as np
import polars as pl
from matplotlib.patches import Rectangle
from simulated_tables import DEMO, SETTINGS_JSON, models_json

from induction.figures.inputs import FigureInputs, read_inputs
from induction.figures.stage import FIGURES


def inputs_of(name: str, paths, models=DEMO) -> FigureInputs:
    module = importlib.import_module(FIGURES[name])
    return read_inputs(name, module.NEEDS, paths, models_json(models), SETTINGS_JSON, getattr(module, "ARRAYS", ()))


def drawn(name: str, paths, models=DEMO):
    """Return the inputs, the figure and its panels."""
    inputs = inputs_of(name, paths, models)
    result = importlib.import_module(FIGURES[name]).draw(inputs)
    return inputs, result, [axis for axis in result.axes if axis.get_label() != "<colorbar>"]


def in_rows(axes, n_columns):
    return np.array(axes, dtype=object).reshape(-1, n_columns)


def lines(axis, label):
    return [line for line in axis.lines if line.get_label() == label]


def only(axis, label):
    (line,) = lines(axis, label)
    return line


def head_lines(axis):
    return [line for line in axis.lines if line.get_label().startswith("layer ")]


def points(axis, label):
    """The points of a scatter, [point, 2], and what holds them."""
    (found,) = [artist for artist in axis.collections if artist.get_label() == label]
    return np.asarray(found.get_offsets()), found


def errors(axis, label):
    """Ends of the error bars that bear a label, [bar, low and high]."""
    (bars,) = [artist for artist in axis.collections if artist.get_label() == label]
    return np.array([segment[:, 1] for segment in bars.get_segments()])


def bands(axis):
    return [
        (patch.get_x(), patch.get_x() + patch.get_width()) for patch in axis.patches if isinstance(patch, Rectangle)
    ]


def notes(axis):
    return [text.get_text() for text in axis.texts]


def legend_texts(figure):
    legends = [*figure.legends, *(legend for part in figure.subfigs for legend in part.legends)]
    return [text for legend in legends for text in legend.get_texts()]


def same_line(line, rows: pl.DataFrame, column: str):
    np.testing.assert_array_equal(line.get_xdata(), rows["tokens"])
    np.testing.assert_array_equal(line.get_ydata(), rows[column])
