"""Onsets: the window of each resample, told beside those of the table phases."""

import numpy as np
import polars as pl
import pytest
from planted import MILLION, STEPS, TOKENS, TOKENS_A_STEP, TWELVE, sigmoid_fall, write_heads, write_jump

from induction.analyse.curves import curves
from induction.analyse.phases import Search, Signal, onset_rows, phases, resampled_best, search, window_row
from induction.analyse.windows import NoWindow, Window, falling_window
from induction.study.analysis import Bootstrap, Phases
from induction.tables.phases import ONSETS, PHASES
from induction.tables.replicates import REPLICATES

BOOTSTRAP = Bootstrap(n_resamples=60)


def test_an_onset_lies_between_the_snapshots_around_it():
    tokens = np.array([0.0, 10.0, 20.0, 40.0])
    starts = {0: 0.0, 2: 10.0, 3: 15.0, 5: 39.0, 6: 40.0}
    windows = {number: Window(start, 41.0, 42.0, "") for number, start in starts.items()}
    signal = Signal("icl", tokens, np.zeros((7, 4)), lambda curve: NoWindow(""))
    rows = onset_rows(Search(signal, NoWindow(""), windows), tokens)
    assert [row["resample"] for row in rows] == [0, 2, 3, 5, 6]
    around = [(row["before_tokens"], row["after_tokens"]) for row in rows]
    assert around == [(0, 10), (10, 20), (10, 20), (20, 40), (40, 40)]


def test_a_signal_is_found_by_its_curve_and_enough_resamples():
    curve = np.array([0.0, 1.0])
    window = Window(1.0, 2.0, 3.0, "as told")
    signal = Signal(
        "icl", curve, np.stack([curve, -curve, -curve, curve]), lambda c: window if c[1] > 0 else NoWindow("")
    )
    found = search(signal)
    assert list(found.resamples) == [0, 3]
    assert (found.support, found.window(0.5), found.window(0.6)) == (0.5, window, None)
    none = search(Signal("icl", -curve, signal.resampled_RS, signal.find))
    assert (none.support, none.window(0.0)) == (0.5, None)
    alone = search(Signal("icl", curve, -signal.resampled_RS[[0, 3]], signal.find))
    tokens = np.array([0.0, 4.0])
    row = window_row(alone, np.array([0, 1]), tokens, 0.95, min_support=0.0)
    assert (row["found"], row["start_tokens_low"], row["start_tokens_high"]) == (True, 0.0, 4.0)


def test_the_best_head_of_each_snapshot_is_followed_beside_the_one_that_is_best_at_the_end(tmp_path):
    """As with two layers of smeared keys: one head rises first and is overtaken by another, later one."""
    folder = tmp_path / "model=overtaken"
    parts = write_jump(folder, 0.4)
    early, late = (
        -sigmoid_fall(TOKENS, start * MILLION, (start + 1) * MILLION, size) for start, size in ((2, 0.6), (5, 0.9))
    )
    late -= late[0]
    parts["heads"] = [write_heads(folder / "two.parquet", STEPS, {"prefix_matching": np.stack([early, late], axis=1)})]
    out, onsets_out = folder / "phases", folder / "onsets"
    phases(**parts, in_context=TWELVE, bootstrap=BOOTSTRAP, phases=Phases(), out=out, onsets_out=onsets_out)
    rows = {row["signal"]: row for row in PHASES.read(out).iter_rows(named=True)}
    at_the_end, of_each = rows["prefix_matching"], rows["best_prefix_matching"]
    assert at_the_end["found"]
    assert of_each["found"]
    assert at_the_end["midpoint_tokens"] == pytest.approx(5.5 * MILLION, abs=0.15 * MILLION)
    assert of_each["midpoint_tokens"] == pytest.approx(2.5 * MILLION, abs=0.15 * MILLION)
    assert of_each["support"] > 0.5
    assert set(ONSETS.read(onsets_out)["signal"]) >= {"prefix_matching", "best_prefix_matching"}


def test_resamples_of_the_best_head_are_the_best_of_resampled_heads():
    """With equal heads and unit noise the best of three has the mean of the greatest of three standard normals."""
    shape = {"step": np.repeat(np.arange(400), 3), "layer": 0, "head": np.tile(np.arange(3), 400)}
    heads = pl.DataFrame({**shape, "score": 0.5, "score_se": 1.0})
    curve_S, resampled_RS = resampled_best(heads, "score", Bootstrap(n_resamples=100))
    assert (curve_S == 0.5).all()
    assert resampled_RS.shape == (100, 400)
    expected, deviation = 3 / (2 * np.sqrt(np.pi)), 0.748
    assert resampled_RS.mean() - 0.5 == pytest.approx(expected, abs=4 * deviation / 200)
    alone = resampled_best(heads.with_columns(score_se=0.0), "score", Bootstrap(n_resamples=20))
    assert (alone[1] == 0.5).all()


def test_onsets_are_the_windows_behind_the_intervals_of_table_phases(tmp_path):
    folder = tmp_path / "model=jump"
    parts = write_jump(folder, 0.4)
    out, onsets_out, replicates_out = (folder / f"{name}.parquet" for name in ("phases", "onsets", "replicates"))
    phases(**parts, in_context=TWELVE, bootstrap=BOOTSTRAP, phases=Phases(), out=out, onsets_out=onsets_out)
    curves(**parts, in_context=TWELVE, bootstrap=BOOTSTRAP, out=folder / "curves", replicates_out=replicates_out)
    found, onsets = PHASES.read(out).filter(pl.col("found")), ONSETS.read(onsets_out)
    assert {"icl", "prefix_matching"} <= set(found["signal"])
    assert "previous_token" not in onsets["signal"]
    snapshots = set(TOKENS.tolist())
    for row in found.iter_rows(named=True):
        of_signal = onsets.filter(pl.col("signal") == row["signal"])
        assert len(of_signal) == row["support"] * BOOTSTRAP.n_resamples
        for place in ("start", "midpoint", "end"):
            low, high = np.quantile(of_signal[f"{place}_tokens"], [0.025, 0.975])
            widened = (row[f"{place}_tokens_low"], row[f"{place}_tokens_high"])
            assert widened[0] == pytest.approx(low) or (widened[0] in snapshots and widened[0] <= low)
            assert widened[1] == pytest.approx(high) or (widened[1] in snapshots and widened[1] >= high)
    resampled_RS = REPLICATES.read(replicates_out)["icl_windowed"].to_numpy().astype(np.float64).T
    for row in onsets.filter(pl.col("signal") == "icl").iter_rows(named=True):
        rule = Phases()
        window = falling_window(TOKENS, resampled_RS[row["resample"]], rule.min_icl_drop_nats, rule)
        assert isinstance(window, Window)
        told = [row[f"{place}_tokens"] for place in ("start", "midpoint", "end")]
        assert told == pytest.approx([window.start, window.midpoint, window.end], abs=TOKENS_A_STEP)
