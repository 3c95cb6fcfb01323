"""The abstract task: shares of attention on lines of the same kind."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from induction.errors import InductionError
from induction.measure.heads import patterns_and_mixes
from induction.measure.pattern_tasks import LinePrompts, pattern_tasks, score_tasks, task_scores
from induction.tables.pattern_tasks import PATTERN_TASKS
from measure.blocks import write_block
from measure.circuit import N_TOKENS, induction_circuit
from measure.test_parity import random_model

COLON, LABELS, NEWLINE, WORDS = 1, (2, 3, 4, 5), 6, range(7, N_TOKENS)


def line_prompts(seed, n_prompts=3, n_lines=8, last_token=N_TOKENS):
    """Lines of one to three words, a colon, a label and a line end; kinds in any order, at least two of each."""
    generator = np.random.default_rng(seed)
    rows, colons, ends = [], [], []
    kinds = np.stack([generator.permutation(np.arange(n_lines) % 4) for _ in range(n_prompts)])
    for prompt in range(n_prompts):
        row, ends_of, colons_of = [0], [1], []
        for kind in kinds[prompt]:
            row += [*generator.integers(WORDS[0], last_token, generator.integers(1, 4)), COLON, LABELS[kind], NEWLINE]
            colons_of.append(len(row) - 3)
            ends_of.append(len(row))
        rows.append(row)
        colons.append(colons_of)
        ends.append(ends_of)
    tokens = np.zeros((n_prompts, max(map(len, rows))), np.int32)
    for padded, row in zip(tokens, rows, strict=True):
        padded[: len(row)] = row
    return LinePrompts(tokens, np.array(colons), np.array(colons) + 1, np.array(ends), kinds)


def scores_of(pattern_BHQK, prompts):
    places = {name: torch.from_numpy(getattr(prompts, name)) for name in ("colons", "labels", "ends", "kinds")}
    return task_scores(torch.as_tensor(pattern_BHQK, dtype=torch.float32), **places)


def queries_of(prompts, b):
    """The lines that count, each with its earlier lines of the same kind and of other kinds."""
    kinds = prompts.kinds[b]
    for line in range(len(kinds)):
        same = [earlier for earlier in range(line) if kinds[earlier] == kinds[line]]
        other = [earlier for earlier in range(line) if kinds[earlier] != kinds[line]]
        if same and other:
            yield line, same, other


def empty_pattern(prompts, n_heads=1):
    n_prompts, n_positions = prompts.tokens.shape
    return np.zeros((n_prompts, n_heads, n_positions, n_positions), np.float32)


def random_pattern(prompts, n_heads, seed):
    n_prompts, n_positions = prompts.tokens.shape
    logits = 2 * torch.randn(
        n_prompts, n_heads, n_positions, n_positions, generator=torch.Generator().manual_seed(seed)
    )
    future = torch.ones(n_positions, n_positions, dtype=torch.bool).triu(1)
    return logits.masked_fill(future, -torch.inf).softmax(-1).numpy()


# --- planted patterns -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("on_same", "on_other"), [(1.0, 0.0), (0.6, 0.2), (0.0, 0.5), (0.05, 0.15)])
def test_a_planted_share_is_found(on_same, on_other):
    """So much attention on labels of the same kind, so much on other labels, from every colon."""
    prompts = line_prompts(0, n_lines=12)
    pattern = empty_pattern(prompts)
    for b in range(3):
        for line, same, other in queries_of(prompts, b):
            pattern[b, 0, prompts.colons[b, line], prompts.labels[b, same]] = on_same / len(same)
            pattern[b, 0, prompts.colons[b, line], prompts.labels[b, other]] = on_other / len(other)
    scores = scores_of(pattern, prompts)
    share = torch.full((3, 1), on_same / (on_same + on_other))
    torch.testing.assert_close(scores.same_label_BH, share)
    torch.testing.assert_close(scores.same_line_BH, share)
    torch.testing.assert_close(scores.on_labels_BH, torch.full((3, 1), on_same + on_other))


def test_attention_on_other_tokens_of_a_line_counts_for_the_line_alone():
    """All of it on the first words of lines of the same kind, but a tenth on a label of another kind."""
    prompts = line_prompts(1)
    pattern = empty_pattern(prompts)
    for b in range(3):
        for line, same, other in queries_of(prompts, b):
            pattern[b, 0, prompts.colons[b, line], prompts.ends[b, same[0]]] = 0.9
            pattern[b, 0, prompts.colons[b, line], prompts.labels[b, other[0]]] = 0.1
    scores = scores_of(pattern, prompts)
    torch.testing.assert_close(scores.same_label_BH, torch.zeros(3, 1))
    torch.testing.assert_close(scores.same_line_BH, torch.full((3, 1), 0.9))


def test_only_colons_of_lines_that_can_be_asked_about_count():
    """A pattern that is right everywhere else scores nothing: other queries, and lines without both kinds before."""
    prompts = line_prompts(2)
    pattern = empty_pattern(prompts)
    for b in range(3):
        asked = {line: (same, other) for line, same, other in queries_of(prompts, b)}
        pattern[b, 0, :, prompts.labels[b]] = 1 / 8
        for line, (_, other) in asked.items():
            pattern[b, 0, prompts.colons[b, line]] = 0
            pattern[b, 0, prompts.colons[b, line], prompts.labels[b, other[0]]] = 1
    scores = scores_of(pattern, prompts)
    torch.testing.assert_close(scores.same_label_BH, torch.zeros(3, 1))
    torch.testing.assert_close(scores.on_labels_BH, torch.ones(3, 1))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), n_lines=st.integers(8, 28))
def test_an_even_pattern_is_at_chance(seed, n_lines):
    """Even over all tokens up to the query, or over earlier labels alone."""
    prompts = line_prompts(seed, n_lines=n_lines)
    n_positions = prompts.tokens.shape[1]
    pattern = empty_pattern(prompts, n_heads=2)
    pattern[:, 0] = np.tril(np.ones((n_positions, n_positions))) / np.arange(1, n_positions + 1)[:, None]
    expected = np.zeros(3)
    for b in range(3):
        shares = [len(same) / line for line, same, _ in queries_of(prompts, b)]
        expected[b] = np.mean(shares)
        for line, _, _ in queries_of(prompts, b):
            pattern[b, 1, prompts.colons[b, line], prompts.labels[b, :line]] = 1 / line
    scores = scores_of(pattern, prompts)
    torch.testing.assert_close(scores.same_label_BH, scores.chance_BH)
    torch.testing.assert_close(scores.chance_BH[:, 1].double(), torch.from_numpy(expected), atol=1e-6, rtol=0)


def test_a_head_that_looks_at_no_label_and_at_no_line_is_at_chance():
    prompts = line_prompts(3)
    pattern = empty_pattern(prompts)
    pattern[..., 0] = 1  # all on the start token
    scores = scores_of(pattern, prompts)
    expected = [np.mean([len(same) / line for line, same, _ in queries_of(prompts, b)]) for b in range(3)]
    for name in ("same_label_BH", "same_line_BH", "chance_BH"):
        np.testing.assert_allclose(getattr(scores, name)[:, 0], expected, rtol=1e-6)
    assert (scores.on_labels_BH == 0).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), n_lines=st.integers(8, 20))
def test_scores_equal_loops_over_queries_and_keys(seed, n_lines):
    prompts = line_prompts(seed, n_lines=n_lines)
    pattern = random_pattern(prompts, 2, seed)
    scores = scores_of(pattern, prompts)
    for b in range(3):
        for head in range(2):
            on_same = on_all = line_same = line_all = even = 0.0
            n_queries = 0
            for line, same, other in queries_of(prompts, b):
                row = pattern[b, head, prompts.colons[b, line]].astype(np.float64)
                mass = sum(row[prompts.labels[b, earlier]] for earlier in (*same, *other))
                on_same += sum(row[prompts.labels[b, earlier]] for earlier in same)
                on_all += mass
                even += mass * len(same) / (len(same) + len(other))
                for earlier in (*same, *other):
                    on_line = sum(row[place] for place in range(prompts.ends[b, earlier], prompts.ends[b, earlier + 1]))
                    line_all += on_line
                    line_same += on_line if earlier in same else 0
                n_queries += 1
            assert scores.same_label_BH[b, head] == pytest.approx(on_same / on_all, abs=1e-5)
            assert scores.same_line_BH[b, head] == pytest.approx(line_same / line_all, abs=1e-5)
            assert scores.chance_BH[b, head] == pytest.approx(even / on_all, abs=1e-5)
            assert scores.on_labels_BH[b, head] == pytest.approx(on_all / n_queries, abs=1e-5)


# --- models -----------------------------------------------------------------------------------------------------


def test_a_literal_induction_head_looks_at_every_label_alike():
    """From a colon it looks where a colon came before: all on labels, whatever their line's kind."""
    columns = score_tasks(induction_circuit(), line_prompts(0, n_prompts=10, n_lines=10))
    assert columns["on_labels"][2] == pytest.approx(1, abs=1e-4)
    assert columns["same_label"][2] == pytest.approx(columns["chance"][2], abs=1e-5)
    assert columns["same_line"][2] == pytest.approx(columns["chance"][2], abs=1e-5)
    assert columns["on_labels"][0] < 1e-4, "the previous-token head looks at the word before the colon"
    assert columns["same_label"][1] == pytest.approx(columns["chance"][1], abs=1e-5), "a zero head attends evenly"


def test_columns_are_means_over_prompts_of_any_number():
    """More prompts than go through the model at once; the error is that of a mean."""
    model, prompts = random_model(0, n_ctx=128), line_prompts(4, n_prompts=19, last_token=50)
    columns = score_tasks(model, prompts)
    tokens_BT = torch.from_numpy(prompts.tokens).long()
    per_layer = [scores_of(pattern, prompts) for pattern, _ in patterns_and_mixes(model, tokens_BT)]
    for name in ("same_label", "same_line", "on_labels", "chance"):
        by_prompt = np.concatenate([getattr(scores, f"{name}_BH").numpy() for scores in per_layer], axis=1)
        np.testing.assert_allclose(columns[name], by_prompt.mean(0), rtol=1e-5)
        if name != "chance":
            np.testing.assert_allclose(columns[f"{name}_se"], by_prompt.std(0, ddof=1) / 19**0.5, rtol=1e-4)
    assert columns["layer"].tolist() == [0] * 4 + [1] * 4
    assert columns["head"].tolist() == [0, 1, 2, 3] * 2
    assert (columns["n_lines"] == 8).all()


def test_a_single_prompt_has_no_error():
    columns = score_tasks(random_model(1, n_ctx=128), line_prompts(5, n_prompts=1, last_token=50))
    assert (columns["same_label_se"] == 0).all()


def test_a_prompt_without_a_query():
    prompts = line_prompts(6)
    kinds = prompts.kinds.copy()
    kinds[1] = 2
    with pytest.raises(InductionError, match="prompt 1 of the pattern task: no line has both"):
        score_tasks(random_model(2, n_ctx=128), replace(prompts, kinds=kinds))


def test_the_stage_measures_the_last_snapshot(tmp_path):
    early, late = random_model(3, n_ctx=128), random_model(4, n_ctx=128)
    manifest = write_block(tmp_path / "models", {5: early, 10: late})
    prompts, out = line_prompts(7, last_token=50), tmp_path / "model=one/part.parquet"
    pattern_tasks(manifest, prompts, out, provenance={"recipe": "made"}, device="cpu")
    table = PATTERN_TASKS.read(out).sort("layer", "head")
    assert table["step"].unique().to_list() == [10]
    assert table["tokens"].unique().to_list() == [1000]
    for name, values in score_tasks(late, prompts).items():
        np.testing.assert_array_equal(table[name].to_numpy(), values)
