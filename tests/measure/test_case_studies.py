"""Chosen heads on a passage: where they look, and what they raise."""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from induction.errors import InductionError
from induction.measure.case_studies import Passage, best_of_classes, case_studies, read_text
from induction.measure.heads import patterns_and_mixes
from induction.study.analysis import Heads
from induction.tables.case_studies import CASE_STUDIES
from induction.tables.heads import HEADS
from measure.blocks import write_block
from measure.circuit import N_TOKENS, induction_circuit
from measure.drawn_models import architectures
from measure.test_parity import T, V, random_model, tokens

THRESHOLDS = Heads(induction_prefix_matching=0.3, induction_copying=0.0, previous_token=0.3)
TEXTS = tuple(f"<{token}>" for token in range(V))


def all_heads(model):
    return [(layer, head) for layer in range(model.architecture.n_layers) for head in range(model.architecture.n_heads)]


def head_scores(*scores, step=10):
    """Rows of the table `heads` of a model of two heads a layer: prefix matching, copying, previous token."""
    names = ("prefix_matching", "copying", "previous_token")
    columns = {name: [float(score[place]) for score in scores] for place, name in enumerate(names)}
    zero = [0.0] * len(scores)
    others = {f"{name}_se": zero for name in (*names, "copying_literal")} | {
        "copying_literal": zero,
        "ov_copying": zero,
    }
    others |= dict.fromkeys(("qk_trace", "k_composition", "q_composition", "v_composition"), zero)
    place = {"layer": [n // 2 for n in range(len(scores))], "head": [n % 2 for n in range(len(scores))]}
    return {"step": step, "tokens": 100 * step, **place, **columns, **others}


def write_heads(path, *rows):
    with HEADS.writer(path) as table:
        for columns in rows:
            table.append(columns)
    return path


# --- attribution ------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    fields=architectures(4, 30),
)
def test_attributions_and_all_else_sum_to_the_logits(seed, fields):
    """In any architecture; what is not a head's is read off the stream: what remains of it without the heads."""
    model, tokens_T = random_model(seed, **fields), tokens(seed)[0]
    readings = read_text(model, tokens_T, all_heads(model))
    by_heads_Q = sum(reading.attribution_QK.double().sum(1) for reading in readings)

    wide = model.double()
    residual_QD = wide.embed(tokens_T[None, :-1])[0]
    rest_QD = residual_QD.clone()
    for block in wide.blocks:
        z_BHQE, _ = block.attn.mix_and_pattern(block.ln1(residual_QD[None]))
        heads_QD = torch.einsum("hqe,hed->qd", z_BHQE[0], block.attn.per_head("W_O"))
        after_QD = block.after_attention(residual_QD[None] + block.attn.result(z_BHQE))[0]
        rest_QD += after_QD - residual_QD - heads_QD
        residual_QD = after_QD
    scale_Q1 = (residual_QD.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    rest_QD = (rest_QD - rest_QD.mean(1, keepdim=True)) / scale_Q1 * wide.ln_final.w + wide.ln_final.b

    def centred_logit(normed_QD):
        logits_QV = normed_QD @ wide.W_U
        return (logits_QV - logits_QV.mean(1, keepdim=True))[torch.arange(T), tokens_T[1:]]

    expected_Q = centred_logit(wide.ln_final(residual_QD))
    torch.testing.assert_close(by_heads_Q + centred_logit(rest_QD), expected_Q, atol=1e-3, rtol=1e-4)


def test_attribution_of_a_key_equals_the_written_out_formula():
    """A[i, j] W_U W_O v_j as a vector over the vocabulary, centred, at the token that follows; one pair at a time."""
    model, tokens_T = random_model(1), tokens(1)[0]
    reading = read_text(model, tokens_T, [(1, 2)])[0]
    residuals = [model.embed(tokens_T[None, :-1])]
    for block in model.blocks:
        residuals.append(block(residuals[-1]))
    pattern_QK = list(patterns_and_mixes(model, tokens_T[None, :-1]))[1][0][0, 2]
    torch.testing.assert_close(reading.attention_QK, pattern_QK)
    block, final_QD = model.blocks[1], residuals[-1][0]
    v_KE = block.attn.values(block.ln1(residuals[1]))[0, 2]
    for query in range(T):
        scale = float(torch.sqrt(final_QD[query].var(correction=0) + 1e-5))
        for key in range(query + 1):
            written_D = v_KE[key] @ block.attn.per_head("W_O")[2]
            logits_V = ((written_D - written_D.mean()) / scale * model.ln_final.w) @ model.W_U
            raised = float(logits_V[tokens_T[query + 1]] - logits_V.mean())
            expected = float(pattern_QK[query, key]) * raised
            assert reading.attribution_QK[query, key] == pytest.approx(expected, abs=1e-4)
        assert (reading.attribution_QK[query, query + 1 :] == 0).all()


def test_the_induction_circuit_raises_the_token_that_followed():
    """On a block of distinct tokens and its repetition all attribution lies on the key after the earlier copy."""
    period = 20
    block = np.random.default_rng(0).choice(np.arange(1, N_TOKENS), period, replace=False)
    tokens_T = torch.from_numpy(np.concatenate([[0], block, block]))
    reading = read_text(induction_circuit(), tokens_T, [(1, 0)])[0]
    for query in range(period + 1, 2 * period):
        row = reading.attribution_QK[query]
        assert row[query - period + 1] == pytest.approx(float(row.sum()), rel=1e-3)
        assert row[query - period + 1] > 1


def test_heads_are_read_in_the_order_asked_for():
    model, tokens_T = random_model(2), tokens(2)[0]
    asked = [(1, 3), (0, 1), (1, 0)]
    everything = dict(zip(all_heads(model), read_text(model, tokens_T, all_heads(model)), strict=True))
    for head, reading in zip(asked, read_text(model, tokens_T, asked), strict=True):
        torch.testing.assert_close(reading, everything[head])


# --- which heads ------------------------------------------------------------------------------------------------


def frame(columns, model="one"):
    return pl.DataFrame(columns).with_columns(pl.lit(model).alias("model"))


def test_the_best_of_each_class_is_chosen():
    scores = head_scores(
        (0.1, 0.5, 0.9), (0.2, 0.5, 0.4), (0.6, 0.1, 0.1), (0.7, 0.3, 0.95), (0.9, -0.2, 0.1), (0.2, 0, 0)
    )
    # (2, 0) matches prefixes best, but does not copy: of the others; (1, 1) looks one back, too, but is induction
    assert best_of_classes(frame(scores), THRESHOLDS) == [
        (1, 1, "induction"),
        (0, 0, "previous-token"),
        (2, 0, "other"),
    ]


def test_an_absent_class_has_no_head_and_of_equals_the_first_is_chosen():
    scores = head_scores((0.1, 0, 0.1), (0.2, 0, 0.1), (0.2, 0, 0.1), (0.1, 0, 0.1))
    assert best_of_classes(frame(scores), THRESHOLDS) == [(0, 1, "other")]


def test_the_final_snapshot_decides():
    early = frame(head_scores((0.9, 1, 0), (0.1, 0, 0.9), step=5))
    late = frame(head_scores((0.1, 0, 0.9), (0.9, 1, 0), step=10))
    assert best_of_classes(pl.concat([late, early]), THRESHOLDS) == [(0, 1, "induction"), (0, 0, "previous-token")]


# --- the stage --------------------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path):
    """A block of two snapshots, the scores of the last one's heads, and an example."""
    early, late = (random_model(seed, n_heads=2, d_head=16) for seed in (5, 6))
    manifest = write_block(tmp_path / "models", {5: early, 10: late})
    scores = head_scores((0.1, 0, 0.9), (0.2, 0, 0.0), (0.7, 0.5, 0.1), (0.1, 0, 0.2))
    part = write_heads(tmp_path / "heads/model=one/block-0.parquet", scores)
    return late, manifest, part, tmp_path / "case_studies/model=one/part.parquet"


def passage(first, n_tokens):
    return Passage(3, first, n_tokens, np.concatenate([[0], tokens(7)[0, 1:].numpy()]).astype(np.int32), TEXTS)


def measured(study, cut, **fields):
    _, manifest, part, out = study
    given = {"heads_parts": [part], "thresholds": THRESHOLDS, "passage": cut, **fields}
    case_studies(manifest, out=out, provenance={}, device="cpu", **given)
    return CASE_STUDIES.read(out)


@pytest.mark.parametrize(("first", "n_tokens", "last"), [(8, 8, 15), (1, 8, 8), (T - 7, 8, T - 1), (1, 99, T - 1)])
def test_rows_are_the_passages_queries_and_keys(study, first, n_tokens, last):
    """Token i is at place i of the example; the example's last token, T, is predicted and never looks."""
    model, cut = study[0], passage(first, n_tokens)
    table = measured(study, cut)
    assert table["step"].unique().to_list() == [10]
    assert table["example"].unique().to_list() == [3]
    chosen = [(1, 0, "induction"), (0, 0, "previous-token"), (0, 1, "other")]
    assert table.select("layer", "head", "chosen").unique(maintain_order=True).rows() == chosen
    expected_pairs = [(query, key) for query in range(first, last + 1) for key in [0, *range(first, query + 1)]]
    readings = read_text(model, torch.from_numpy(cut.tokens).long(), [(layer, head) for layer, head, _ in chosen])
    for (layer, head, _), reading in zip(chosen, readings, strict=True):
        rows = table.filter(layer=layer, head=head)
        assert rows.select("query", "key").rows() == expected_pairs
        for row in rows.to_dicts():
            query, key = row["query"], row["key"]
            assert (row["query_text"], row["key_text"]) == (TEXTS[cut.tokens[query]], TEXTS[cut.tokens[key]])
            assert row["attention"] == pytest.approx(float(reading.attention_QK[query, key]), abs=1e-5)
            assert row["attribution"] == pytest.approx(float(reading.attribution_QK[query, key]), abs=1e-4)


@pytest.mark.parametrize("first", [0, T, T + 5])
def test_a_passage_outside_its_example(study, first):
    with pytest.raises(InductionError, match=rf"passage of example 3: its first token, {first}, .* 1 to {T - 1}"):
        measured(study, passage(first, 8))


def test_scores_of_another_snapshot_or_model(study, tmp_path):
    two = ((0.1, 0, 0.9), (0.2, 0, 0.0))
    stale = write_heads(tmp_path / "stale/model=one/part.parquet", head_scores(*two, *two, step=9))
    small = write_heads(tmp_path / "small/model=one/part.parquet", head_scores(*two, step=10))
    for part in (stale, small):
        with pytest.raises(InductionError, match=r"part\.parquet: not the scores of the 4 heads at step 10"):
            measured(study, passage(1, 8), heads_parts=[part])
    assert not study[3].exists()
