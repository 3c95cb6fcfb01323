"""The hand-built circuit scores as algebra says."""

import numpy as np
import pytest
import torch

from induction.measure.ablated_runs import Ablation, ablated_losses
from induction.measure.heads import HeadProbes, patterns_and_mixes, score_heads
from induction.measure.losses import example_losses
from measure.circuit import N_TOKENS, induction_circuit

PERIOD, REPEATS, SEQUENCES = 25, 4, 12


@pytest.fixture(scope="module")
def model():
    return induction_circuit()


@pytest.fixture(scope="module")
def probes():
    generator = np.random.default_rng(0)
    drawn = np.stack([generator.choice(np.arange(1, N_TOKENS), PERIOD, replace=False) for _ in range(SEQUENCES)])
    repeated = np.concatenate([np.zeros((SEQUENCES, 1)), np.tile(drawn, REPEATS)], axis=1)
    text = generator.integers(1, N_TOKENS, (SEQUENCES, 101))
    return HeadProbes(repeated.astype(np.int32), PERIOD, drawn.astype(np.int32), text.astype(np.int32))


@pytest.fixture(scope="module")
def scores(model, probes):
    return score_heads(model, probes)


def test_only_the_induction_head_matches_prefixes(scores):
    # rows: (layer, head) = (0, 0), (0, 1), (1, 0), (1, 1); a zero head attends evenly
    assert scores["prefix_matching"][2] > 0.99
    assert scores["prefix_matching"][0] < 0.01
    queries = np.arange(1 + PERIOD, 1 + PERIOD * REPEATS)
    evenly = np.mean(((queries - 1) // PERIOD) / (queries + 1))
    assert scores["prefix_matching"][1] == pytest.approx(evenly, abs=1e-5)


def test_the_off_by_one_reading_would_not_see_it(model, probes):
    """Attention on the earlier copies themselves, or on the tokens before them, is not prefix matching."""
    pattern_BQK = list(patterns_and_mixes(model, torch.from_numpy(probes.repeated).long()))[1][0][:, 0]
    queries = torch.arange(1 + PERIOD, 1 + PERIOD * REPEATS)
    for shift in (0, -1):
        copies = [pattern_BQK[:, q, torch.arange(int(q) - PERIOD + shift, 0, -PERIOD)].sum(-1) for q in queries]
        assert torch.stack(copies).mean() < 0.01


def test_previous_token_head(scores):
    assert scores["previous_token"][0] > 0.99
    assert scores["previous_token"][2] < 0.3


def test_copying_has_the_value_of_algebra(scores):
    """On distinct tokens nothing matches, so query i > 0 attends evenly to i + 1 tokens and raises each alike."""
    n_seen = np.arange(1, PERIOD + 1)
    rise = 1 / n_seen - 1 / N_TOKENS
    calibrated = rise.sum() / (rise.sum() + (rise * (n_seen - 1) / (PERIOD - 1)).sum())
    literal = rise.sum() / (rise.sum() + (rise * n_seen).sum())
    assert scores["copying"][2] == pytest.approx(2 * calibrated - 1, abs=1e-3)
    assert scores["copying_literal"][2] == pytest.approx(4 * literal - 1, abs=1e-3)
    assert scores["copying"][1] == 0.0, "a head without a result is at chance"


def test_circuits_of_the_weights(model, scores):
    assert scores["ov_copying"][2] == pytest.approx(1.0, abs=1e-3), "it copies: every eigenvalue is positive"
    assert scores["qk_trace"][2] > 0
    assert np.isnan(scores["qk_trace"][:2]).all()
    # |C C^T| / |C C'^T|^2 of the tokens' codes is 1 / sqrt(48); for random matrices of this shape it is 1 / sqrt(336)
    expected = 1 / N_TOKENS**0.5 - 1 / model.architecture.d_model**0.5
    assert scores["k_composition"][2] == pytest.approx(expected, abs=2e-3)
    assert scores["q_composition"][2] < 0


def test_ablating_the_induction_head_destroys_the_repetition_gain(model, probes):
    tokens_BT = torch.from_numpy(probes.repeated).long()
    first = torch.arange(5, PERIOD - 1)
    later = torch.arange(2 * PERIOD, 3 * PERIOD)
    losses_BT = example_losses(model, tokens_BT)
    gain = losses_BT[:, first].mean() - losses_BT[:, later].mean()
    assert gain > 2.0, "without repetition about ln 48 = 3.9 nats, with it next to none"

    positions_BP = torch.cat([first, later]).expand(SEQUENCES, -1)
    induction, previous = (Ablation(((layer, 0),)) for layer in (1, 0))
    asked = [
        ablation._replace(mode=mode) for ablation in (induction, previous) for mode in ("pattern-preserving", "full")
    ]
    measured = ablated_losses(model, tokens_BT, positions_BP, asked)
    for mode in ("pattern-preserving", "full"):
        without = measured[induction._replace(mode=mode)]
        assert without[:, : len(first)].mean() - without[:, len(first) :].mean() == pytest.approx(0, abs=0.05)
    kept, broken = measured[previous], measured[previous._replace(mode="full")]
    kept_gain = kept[:, : len(first)].mean() - kept[:, len(first) :].mean()
    assert kept_gain > 0.9 * gain, "with its pattern kept, the induction head needs no earlier head"
    assert broken[:, len(first) :].mean() > 2.0, "the induction head cannot find its place without the earlier head"
