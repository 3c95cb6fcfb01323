"""The order of the signals: known where snapshots part them, even odds where they do not."""

import polars as pl
import pytest

from analyse.claims.planted_study import MILLION, TOKENS, Change, evidence, grown, member, merged, seeds
from induction.analyse.claims.orders import orders
from induction.tables.claims import ORDERS

FIRST, SECOND, THIRD = (Change(place * MILLION, (place + 1) * MILLION, 0.01 * MILLION) for place in (1.5, 2.1, 2.7))
ALL = "previous_token < prefix_matching < icl"


def found(*changes, **fields):
    models = seeds("attn-2l", len(changes), **fields)
    tables = merged(*(grown(model, change) for model, change in zip(models, changes, strict=True)))
    return {row["order"]: row for row in orders(evidence(models, tables))}


def of_signals(previous_token, prefix_matching, icl):
    return {"previous_token": previous_token, "prefix_matching": prefix_matching, "icl": icl}


def test_signals_that_snapshots_part_have_an_order():
    told = found(of_signals(FIRST, SECOND, THIRD))
    assert {order: row["probability"] for order, row in told.items()} == {
        "previous_token < prefix_matching": 1,
        "prefix_matching < icl": 1,
        ALL: 1,
    }
    assert told[ALL]["n_seeds"] == 1
    assert told[ALL]["reason"].startswith("Wilson's interval over 40 resamples")
    assert told[ALL]["reason"].endswith(
        f"snapshots {TOKENS[1] / MILLION:.2f}M tokens apart where the signals begin; one seed"
    )
    z2 = 1.959963984540054**2
    assert told[ALL]["probability_low"] == pytest.approx(40 / (40 + z2))


def test_the_opposite_order_has_no_probability():
    told = found(of_signals(THIRD, SECOND, FIRST))
    assert {row["probability"] for row in told.values()} == {0}


def test_signals_between_the_same_two_snapshots_have_even_odds():
    told = found(of_signals(SECOND, SECOND, SECOND))
    assert told["prefix_matching < icl"]["probability"] == pytest.approx(1 / 2, abs=0.06)
    assert told[ALL]["probability"] == pytest.approx(1 / 6, abs=0.05)


def test_only_resamples_in_which_all_begin_are_paired():
    (model,) = seeds("attn-2l", 1)
    tables = grown(model, of_signals(FIRST, SECOND, THIRD))
    late = pl.col("signal") == "icl"
    onsets = pl.concat(
        [
            tables["onsets"].filter(~late),
            # resamples 0 to 9 begin before all else, 10 to 19 after it, the others have no window
            tables["onsets"].filter(late, pl.col("resample") < 10).with_columns(before_tokens=0.0, after_tokens=1.0),
            tables["onsets"].filter(late, pl.col("resample").is_between(10, 19)),
        ]
    )
    told = {row["order"]: row for row in orders(evidence([model], tables | {"onsets": onsets}))}
    assert told["prefix_matching < icl"]["probability"] == pytest.approx(0.5)
    assert "20 resamples" in told["prefix_matching < icl"]["reason"]


def test_over_seeds_the_interval_is_students_and_within_bounds():
    told = found(*[of_signals(FIRST, SECOND, THIRD)] * 3, of_signals(FIRST, THIRD, SECOND))
    row = told["prefix_matching < icl"]
    assert row["n_seeds"] == 4
    assert row["probability"] == pytest.approx(0.75)
    half = 3.182446305284263 * 0.5 / 2  # t of 3 degrees of freedom; the deviation of 1, 1, 1, 0 is a half
    assert (row["probability_low"], row["probability_high"]) == (pytest.approx(max(0, 0.75 - half)), 1)
    assert row["reason"].startswith("Student's interval over seeds")


def test_there_is_no_row_of_a_signal_without_a_window_nor_of_a_single_layer():
    assert set(found({"prefix_matching": SECOND, "icl": THIRD})) == {"prefix_matching < icl"}
    assert found({"previous_token": FIRST, "prefix_matching": SECOND}) == {}
    assert found(of_signals(FIRST, SECOND, THIRD), n_layers=1) == {}
    assert orders(evidence([model := member("attn-2l")], grown(model))) == []


def test_rows_are_those_of_the_table(tmp_path):
    rows = list(found(of_signals(FIRST, SECOND, THIRD)).values())
    ORDERS.write(tmp_path / "orders.parquet", {name: [row[name] for row in rows] for name in rows[0]})
    assert len(ORDERS.read(tmp_path / "orders.parquet")) == 3
