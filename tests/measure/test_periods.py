"""Prefix matching at several periods: a head that sees a few tokens back finds copies at short periods alone."""

import numpy as np
import pytest

from induction.measure.heads import HeadProbes, score_heads
from induction.measure.periods import periods
from induction.tables.periods import PERIODS
from measure.blocks import write_block
from measure.circuit import N_TOKENS, induction_circuit


def repeated(period, n_repeats, n_sequences=4):
    random = np.random.default_rng(period)
    rows = [random.permutation(np.arange(1, N_TOKENS))[:period] for _ in range(n_sequences)]
    return np.array([[0, *np.tile(row, n_repeats)] for row in rows], dtype=np.int32)


def test_a_row_is_a_head_at_a_period_and_that_which_classifies_is_as_in_table_heads(tmp_path):
    model = induction_circuit()
    tokens = {25: repeated(25, 4), 10: repeated(10, 4), 40: repeated(40, 2)}
    out = tmp_path / "model=m" / "part.parquet"
    periods(write_block(tmp_path, {7: model}), tokens, 25, out, provenance={}, device="cpu")
    table = PERIODS.read(out)
    assert table["period"].to_list() == [10] * 4 + [25] * 4 + [40] * 4
    assert table.select("layer", "head").rows() == [(0, 0), (0, 1), (1, 0), (1, 1)] * 3
    assert dict(table.select("period", "n_repeats").unique().rows()) == {10: 4, 25: 4, 40: 2}
    assert table.filter("classifies")["period"].unique().to_list() == [25]
    assert table["step"].unique().to_list() == [7]
    induction = table.filter(layer=1, head=0)["prefix_matching"]
    assert induction.to_list() == pytest.approx([1, 1, 1], abs=1e-3), "the planted circuit looks any distance back"
    probes = HeadProbes(tokens[25], 25, tokens[25][:, 1:26].copy(), tokens[25])
    scores = score_heads(model, probes)
    of_period = table.filter("classifies")
    for name in ("prefix_matching", "prefix_matching_se"):
        np.testing.assert_allclose(of_period[name], scores[name], atol=1e-6)
    # A head that attends evenly puts on the m - 1 earlier copies of a query at i their share of i + 1 tokens.
    for period, n_repeats in ((10, 4), (25, 4), (40, 2)):
        queries = range(period + 1, period * n_repeats + 1)
        even = np.mean([(i - 1) // period / (i + 1) for i in queries])
        assert table.filter(layer=0, head=1, period=period)["prefix_matching"].item() == pytest.approx(even, abs=1e-4)
