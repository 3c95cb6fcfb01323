"""Onsets: the window of each resample, told beside those of the table phases."""

import numpy as np
import polars as pl
import pytest
from planted import TOKENS, TOKENS_A_STEP, TWELVE, write_jump

from induction.analyse.curves import curves
from induction.analyse.phases import Search, Signal, onset_rows, phases, search, window_row
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
