"""Windows under other rules: those of the table phases at the study's own, and of phases run with each other rule."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from planted import TWELVE, write_jump

from induction.analyse.curves import curves
from induction.analyse.phases import phases
from induction.analyse.window_rules import window_rules
from induction.errors import InductionError
from induction.study.analysis import Bootstrap, Phases, WindowRules
from induction.tables.phases import PHASES
from induction.tables.window_rules import WINDOW_RULES

BOOTSTRAP = Bootstrap(n_resamples=40)
PLACES = ("start_tokens", "midpoint_tokens", "end_tokens")


class Model(NamedTuple):
    """A planted model, its parts of curves and replicates, and its row of table phases under a rule."""

    size: float
    folder: Path
    written: tuple[Path, Path]
    icl_row: Callable[[Phases], dict[str, Any]]


@pytest.fixture(scope="module", params=[0.4, 0.05], ids=["jump", "no-jump"])
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rules") / "model=planted"
    parts = write_jump(folder, request.param)
    written = folder / "curves.parquet", folder / "replicates.parquet"
    curves(**parts, in_context=TWELVE, bootstrap=BOOTSTRAP, out=written[0], replicates_out=written[1])

    def icl_row(rule):
        out = folder / "phases.parquet"
        phases(**parts, in_context=TWELVE, bootstrap=BOOTSTRAP, phases=rule, out=out, onsets_out=folder / "onsets")
        return PHASES.read(out).row(by_predicate=pl.col("signal") == "icl", named=True)

    return Model(request.param, folder, written, icl_row)


def ruled(model, rules, usual=None):
    out = model.folder / "window_rules.parquet"
    window_rules(*model.written, usual or Phases(), rules, out)
    return WINDOW_RULES.read(out)


def assert_alike(row, told):
    assert (row["found"], row["support"]) == (told["found"], told["support"])
    places = [(row[place], told[place]) for place in PLACES]
    assert all(ours is theirs is None or ours == pytest.approx(theirs, rel=1e-3) for ours, theirs in places), places


def test_at_the_usual_values_it_is_the_window_of_table_phases(model):
    table = ruled(model, WindowRules())
    told = model.icl_row(Phases())
    assert told["found"] == (model.size > Phases().min_icl_drop_nats)
    usual = table.filter(pl.col("usual"))
    assert usual["rule"].to_list() == list(WindowRules.model_fields)
    for row in usual.iter_rows(named=True):
        assert row["value"] == getattr(Phases(), row["rule"])
        assert_alike(row, told)


@pytest.mark.parametrize(
    "other",
    [
        {"smoothing_snapshots": 3.0},
        {"rate_fraction": 0.3},
        {"min_icl_drop_nats": 0.02},
        {"min_abruptness": 3.0},
        {"max_duration": 0.3},
    ],
    ids=lambda other: next(iter(other)),
)
def test_one_rule_differs_and_all_others_are_as_they_are(model, other):
    usual = Phases(min_support=0.8, max_duration=2.0)
    ((rule, value),) = other.items()
    table = ruled(model, WindowRules(**{rule: (value,)}), usual)
    row = table.row(by_predicate=(pl.col("rule") == rule) & (pl.col("value") == value), named=True)
    assert not row["usual"]
    assert_alike(row, model.icl_row(usual.model_copy(update=other)))


def test_the_window_is_gone_when_more_than_the_jump_is_asked(model):
    table = ruled(model, WindowRules(min_icl_drop_nats=(0.6, 0.02)))
    asked = table.filter(pl.col("rule") == "min_icl_drop_nats").sort("value")
    assert asked["value"].to_list() == [0.02, 0.12, 0.6]
    assert asked["usual"].to_list() == [False, True, False]
    last = asked.row(-1, named=True)
    assert (last["found"], last["support"], [last[place] for place in PLACES]) == (False, 0.0, [None] * 3)


def test_curves_and_replicates_of_other_snapshots_are_refused(model, tmp_path):
    out = model.folder / "none.parquet"
    short = tmp_path / "model=other"
    parts = write_jump(short, 0.4)
    curves(**parts, in_context=TWELVE, bootstrap=BOOTSTRAP, out=short / "c", replicates_out=short / "r")
    with pytest.raises(InductionError, match="not of the same model and snapshots"):
        window_rules(model.written[0], short / "r", Phases(), WindowRules(), out)
    assert not out.exists()
