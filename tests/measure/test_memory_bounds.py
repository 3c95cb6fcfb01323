"""How many bytes measuring holds at most: a bound from the shapes alone, whichever library multiplies.

What is counted is what torch's allocator hands out, copies inside of operations included. Libraries' own buffers, and the
pages of memory-mapped weights, are not in it: they differ from machine to machine.
"""

import numpy as np
import pytest
import torch

from allocations import peak_bytes
from induction.measure.ablated_runs import ablated_losses, single_heads
from induction.measure.heads import HeadProbes, score_heads
from induction.measure.losses import example_losses
from induction.tables.ablations import FULL
from measure.drawn_models import drawn_model

D, H, E, T = 256, 4, 64, 512
V = 1 << 12
KINDS = {
    "attention": {},
    "smeared keys": {"smeared_keys": True},
    "local heads": {"n_local_heads": 2, "local_window": 64},
    "rotary": {"positions": "rotary", "rotary_fraction": 0.5},
    "MLPs": {"d_mlp": 4 * D},
}


@pytest.fixture(autouse=True, params=["ieee", "bf16"], ids=["MKL", "oneDNN"])
def product(request):
    """Both settings that models/cpu.py chooses from: the library that multiplies float32 matrices."""
    setting = torch.backends.mkldnn.matmul
    before, setting.fp32_precision = setting.fp32_precision, request.param
    yield
    setting.fp32_precision = before


def model_of(vocab_size, **fields):
    return drawn_model(0, n_layers=2, d_model=D, n_heads=H, d_head=E, vocab_size=vocab_size, n_ctx=T, **fields)


def tokens_of(n_examples):
    return torch.randint(0, V, (n_examples, T + 1), generator=torch.Generator().manual_seed(0))


def test_the_count_is_that_of_the_tensors():
    def work():
        first = torch.zeros(1 << 20)  # 4 MiB, in half precision 2
        second = first[::2].clone()
        del first
        return second, torch.zeros(1 << 19)

    assert 6 << 20 <= peak_bytes(work) < (6 << 20) + 1024


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sure", [False, True], ids=["", "sums out of range"])
def test_losses_hold_a_few_streams_scores_and_logits(kind, sure):
    """An example's logits would be 8 MB a copy, and 134 MB with the paper's vocabulary."""
    model, tokens_BT = model_of(V, **KINDS[kind]), tokens_of(3)
    if sure:
        model.W_U *= 1e4
    at_once = max(1, (1 << 18) // (T * D))
    stream = 4 * at_once * T * D
    scores = 4 * at_once * H * 128 * T
    logits = 4 * 512 * 1024
    results = 2 * 4 * tokens_BT.numel()
    # The stream, its norm, queries, keys, values, one of them scaled, smeared or turned, the mix, one being made; an
    # MLP's width before and after its function; scores and what masking or powers make of them; logits and their powers.
    bound = (10 + 2 * KINDS[kind].get("d_mlp", 0) / D) * stream + 3 * scores + 3 * logits + results
    example_losses(model, tokens_BT[:1])  # what is made once is not counted: positions, of all models
    assert peak_bytes(lambda: example_losses(model, tokens_BT)) < bound


def losses_of(model):
    return lambda: example_losses(model, tokens_of(2))


def ablations_of(model, mode):
    asked = torch.tensor([[50, 499]]).expand(2, -1)
    ablations = single_heads(model, mode) if mode else single_heads(model)
    return lambda: ablated_losses(model, tokens_of(2), asked, ablations)


def heads_of(model):
    generator = np.random.default_rng(0)
    drawn = np.stack([generator.permutation(V)[:25] for _ in range(4)]).astype(np.int32)
    probes = HeadProbes(np.tile(drawn, 3), 25, drawn, tokens_of(2).numpy().astype(np.int32))
    return lambda: score_heads(model, probes)


STAGES = {
    "losses": losses_of,
    "heads": heads_of,
    "ablations": lambda model: ablations_of(model, None),
    "full ablations": lambda model: ablations_of(model, FULL),
}
COPIES = {"losses": 0, "heads": 2, "ablations": 0, "full ablations": 0}
"""Copies of the unembedding that a stage may hold at once; `heads` folds the final LayerNorm into it."""


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("fields", [{}, {"d_mlp": 2 * D}], ids=["attention", "MLPs"])
def test_memory_grows_with_the_vocabulary_by_no_more_than_these_copies(stage, fields):
    peaks = []
    for vocab_size in (V, 4 * V):
        work = STAGES[stage](model_of(vocab_size, **fields))
        work()
        peaks.append(peak_bytes(work))
    a_copy = 4 * 3 * V * D
    assert peaks[1] - peaks[0] < (COPIES[stage] + 0.2) * a_copy, peaks
