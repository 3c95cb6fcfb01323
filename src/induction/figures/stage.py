"""The stage that draws one figure."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import get_args

from induction.errors import InductionError, nearest
from induction.figures import theme
from induction.figures.inputs import read_inputs
from induction.study.config import FigureName

FIGURES = {name: f"induction.figures.{name}" for name in (*get_args(FigureName), "model_page")}
"""Name -> module, in the paper's order. Imported when asked for, so that a figure depends on its own module alone."""


def figure(name: str, tables: Sequence[Path], models_json: str, settings_json: str, out: Path) -> None:
    """Draw a figure and write it as .pdf, .svg and .png.

    Args:
        name: one of `FIGURES`.
        tables: files of the tables that the figure's module lists in NEEDS; those in its ARRAYS are read with arrays.
        models_json: the models to show: a list of objects with the fields of `inputs.Model`.
        settings_json: the parts `heads` and `in_context` of the study's configuration.
        out: where to, without a suffix.

    Raises:
        InductionError: there is no such figure, or a table that it needs is missing.
    """
    if name not in FIGURES:
        raise InductionError(f"no figure is called {name}. Permitted: {', '.join(FIGURES)}.{nearest(name, FIGURES)}")
    module = import_module(FIGURES[name])
    arrays = getattr(module, "ARRAYS", ())
    theme.save(module.draw(read_inputs(name, module.NEEDS, tables, models_json, settings_json, arrays)), out)
