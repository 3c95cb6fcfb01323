"""The window of in-context learning under other values of the rules that find it.

Suffix letters: R resample, S snapshot.
"""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from induction.analyse.phases import Search, Signal, search
from induction.analyse.windows import falling_window
from induction.artefacts.origins import provenance_of
from induction.errors import InductionError
from induction.study.analysis import Phases, WindowRules
from induction.tables.curves import CURVES
from induction.tables.replicates import REPLICATES
from induction.tables.window_rules import WINDOW_RULES

Floats = NDArray[np.float64]


def window_rules(curves: Path, replicates: Path, phases: Phases, rules: WindowRules, out: Path) -> None:
    """Find one model's window again with each listed value of each rule in turn, all others as in `phases`.

    The study's own value of a rule is among its rows, listed or not.

    Args:
        curves: the model's part of table curves.
        replicates: its part of table replicates.
        phases: the study's own rules.
        rules: the values of each to try.
        out: its part of table window_rules.

    Raises:
        InductionError: the two parts are not of the same model and snapshots.
    """
    tokens_S, curve_S, resampled_RS = _read(curves, replicates)
    provenance = provenance_of([curves, replicates])
    searches: dict[Phases, Search] = {}
    rows = []
    for name in WindowRules.model_fields:
        usual = float(getattr(phases, name))
        for value in sorted({usual, *getattr(rules, name)}):
            rule = phases.model_copy(update={name: value})
            if rule not in searches:
                searches[rule] = _search(tokens_S, curve_S, resampled_RS, rule)
            rows.append(
                {"rule": name, "value": value, "usual": value == usual} | _found(searches[rule], rule.min_support)
            )
    WINDOW_RULES.write(out, pl.DataFrame(rows, infer_schema_length=None).to_dict(as_series=False), **provenance)


def _read(curves: Path, replicates: Path) -> tuple[Floats, Floats, Floats]:
    """Return training tokens, [S], the windowed ICL score, [S], and its resamples, [R, S]."""
    curve, resampled = (
        table.read(part, ["model", "step", "tokens", "icl_windowed"]).sort("step")
        for table, part in ((CURVES, curves), (REPLICATES, replicates))
    )
    if not curve.drop("icl_windowed").equals(resampled.drop("icl_windowed")):
        raise InductionError(
            f"{curves} and {replicates}: not of the same model and snapshots. They are written together: "
            "delete both and run snakemake again."
        )
    tokens_S, curve_S, resampled_SR = (
        values.to_numpy().astype(np.float64)
        for values in (curve["tokens"], curve["icl_windowed"], resampled["icl_windowed"])
    )
    return tokens_S, curve_S, resampled_SR.T


def _search(tokens_S: Floats, curve_S: Floats, resampled_RS: Floats, rule: Phases) -> Search:
    return search(
        Signal(
            "icl", curve_S, resampled_RS, lambda one_S: falling_window(tokens_S, one_S, rule.min_icl_drop_nats, rule)
        )
    )


def _found(searched: Search, min_support: float) -> dict[str, Any]:
    window = searched.window(min_support)
    places = ("start", "midpoint", "end")
    return {"found": window is not None, "support": searched.support} | {
        f"{place}_tokens": getattr(window, place) if window else None for place in places
    }
