"""Scores read off patterns of a few queries at a time are those of the whole patterns, in memory that stays flat."""

import numpy as np
import pytest
import torch

from allocations import peak_bytes
from induction.measure.heads import HeadProbes, patterns_and_mixes, prefix_matching, previous_token, score_heads
from measure.test_losses import random_model

V, PERIOD, N_REPEATS = 60, 45, 6


def probes(n_sequences, n_text):
    generator = np.random.default_rng(0)
    drawn = np.stack([generator.permutation(np.arange(1, V))[:PERIOD] for _ in range(n_sequences)])
    repeated = np.concatenate([np.zeros((n_sequences, 1)), np.tile(drawn, N_REPEATS)], axis=1)
    text = generator.integers(0, V, (n_sequences, n_text + 1))
    return HeadProbes(repeated.astype(np.int32), PERIOD, drawn.astype(np.int32), text.astype(np.int32))


@pytest.mark.parametrize(
    "fields",
    [{"n_layers": 1}, {"smeared_keys": True}, {"positions": "learned", "d_mlp": 16}, {"n_local_heads": 2}],
    ids=str,
)
def test_long_probes_score_as_their_whole_patterns(fields):
    model, long_probes = random_model(1, vocab_size=V, n_ctx=300, **fields), probes(3, 300)
    scores = score_heads(model, long_probes)
    repeated_BT = torch.from_numpy(long_probes.repeated).long()
    text_BT = torch.from_numpy(long_probes.text[:, :-1]).long()
    follows_QK = torch.zeros(repeated_BT.shape[1], repeated_BT.shape[1])
    for query in range(1 + PERIOD, repeated_BT.shape[1]):
        follows_QK[query, list(range(query - PERIOD + 1, 1, -PERIOD))] = 1
    prefix = [
        (pattern_BHQK * follows_QK).sum(-1)[..., 1 + PERIOD :].mean((0, 2))
        for pattern_BHQK, _ in patterns_and_mixes(model, repeated_BT)
    ]
    previous = [
        torch.stack([pattern_BHQK[..., i, i - 1] for i in range(1, 300)]).mean((0, 1))
        for pattern_BHQK, _ in patterns_and_mixes(model, text_BT)
    ]
    np.testing.assert_allclose(scores["prefix_matching"], torch.cat(prefix), atol=1e-6)
    np.testing.assert_allclose(scores["previous_token"], torch.cat(previous), atol=1e-6)


def test_queries_in_a_row_score_as_among_all():
    pattern_BHQK = torch.rand(2, 3, 50, 50).tril()
    for score in (previous_token, lambda pattern, first=0: prefix_matching(pattern, 7, first)):
        parts = [score(pattern_BHQK[..., :20, :20], 0), score(pattern_BHQK[..., 20:, :], 20)]
        torch.testing.assert_close(torch.cat(parts, dim=-1), score(pattern_BHQK))


def test_memory_is_flat_in_the_number_of_sequences():
    """One layer's patterns of 64 texts would take 268 MB."""
    model = random_model(1, vocab_size=V, n_ctx=512)
    few, many = (peak_bytes(lambda n=n: score_heads(model, probes(n, 512))) for n in (16, 64))
    assert few < 24 << 20
    assert many < 1.5 * few
