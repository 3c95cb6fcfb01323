"""What is seen while a model trains equals what is measured afterwards, changes nothing, and warns of a change alone.

Run by torchrun, this file is a rank: see `test_ranks_that_share_weights_see_what_one_process_sees`.
"""

import hashlib
import json
import os
import subprocess
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint

from induction.errors import InductionError
from induction.measure.heads import HeadProbes, score_heads
from induction.measure.live import BEGINNING, NOT_YET, SEEN, LiveProbe, live_probe, phase_change
from induction.models.transformer import reading
from induction.study.config import ModelFields
from induction.study.evaluation import InContext, Probes, Watch
from induction.study.study import Model
from induction.train.loop import train
from induction.train.plain import PlainEngine
from induction.train.ranks import join
from induction.train.zero import ZeroEngine
from measure.circuit import N_TOKENS, induction_circuit
from measure.drawn_models import drawn_model

PERIOD, REPEATS = 25, 4
IN_CONTEXT = InContext(early=5, late=33, early_window=(4, 7), late_window=(31, 36))
ARCHITECTURES = {
    "infused, smeared, MLP": {"smeared_keys": True, "d_mlp": 16},
    "local heads": {"n_local_heads": 1, "local_window": 30, "positions": "rotary"},
    "learned": {"positions": "learned", "attention_bias": True},
}


def probe_of(vocab_size, n_sequences=4, n_examples=5, seed=0, **rules):
    generator = np.random.default_rng(seed)
    drawn = np.stack([generator.choice(np.arange(1, vocab_size), PERIOD, replace=False) for _ in range(n_sequences)])
    repeated = np.concatenate([np.zeros((n_sequences, 1), dtype=int), np.tile(drawn, REPEATS)], axis=1)
    text = generator.integers(1, vocab_size, (n_examples, 1 + IN_CONTEXT.last_index))
    return LiveProbe(torch.from_numpy(repeated), PERIOD, torch.from_numpy(text), IN_CONTEXT, Watch(**rules))


def model_of(**fields):
    return drawn_model(
        3, **{"n_layers": 2, "n_heads": 2, "d_head": 8, "d_model": 16, "vocab_size": 40, "n_ctx": 128, **fields}
    )


def measured(model, probe):
    """Prefix matching as the stage `heads` measures it, [L, H]."""
    distinct = probe.repeated_BT[:, 1 : 1 + PERIOD].numpy().astype(np.int32)
    probes = HeadProbes(
        probe.repeated_BT.numpy().astype(np.int32), PERIOD, distinct, probe.text_BT.numpy().astype(np.int32)
    )
    shape = model.architecture.n_layers, model.architecture.n_heads
    return score_heads(model, probes)["prefix_matching"].reshape(shape)


def test_the_circuits_induction_head_is_the_best_one_as_measured():
    model, probe = induction_circuit(), probe_of(N_TOKENS)
    look = probe.look(model)
    assert (look["prefix_matching_layer"], look["prefix_matching_head"]) == (1, 0)
    assert look["prefix_matching"] > 0.99
    np.testing.assert_allclose(probe.scores(model), measured(model, probe), atol=1e-6)


@pytest.mark.parametrize("fields", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_every_head_has_the_score_that_is_measured(fields):
    model, probe = model_of(**fields), probe_of(40)
    expected = measured(model, probe)
    assert np.ptp(expected) > 5e-4, "heads must differ for this test to say anything"
    np.testing.assert_allclose(probe.scores(model), expected, atol=1e-6)
    look = probe.look(model)
    assert look["prefix_matching"] == pytest.approx(expected.max(), abs=1e-6)
    assert expected[look["prefix_matching_layer"], look["prefix_matching_head"]] == expected.max()


def test_in_context_learning_of_a_naive_loop():
    model, probe = model_of(), probe_of(40)
    differences, losses = [], []
    for example in probe.text_BT:
        probability_TV = model(example[None, :-1])[0].double().softmax(-1)
        loss = [-float(probability_TV[place, token].log()) for place, token in enumerate(example[1:])]
        # loss[0] is that of token 1
        differences.append(sum(loss[30:36]) / 6 - sum(loss[3:7]) / 4)
        losses += loss
    look = probe.look(model)
    mean = sum(differences) / 5
    squares = sum((difference - mean) ** 2 for difference in differences)
    assert look["icl"] == pytest.approx(mean, abs=1e-5)
    assert look["icl_se"] == pytest.approx((squares / 4) ** 0.5 / 5**0.5, abs=1e-5)
    assert look["loss_held_out"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)


def test_nothing_is_read_of_a_model_that_has_been_looked_at():
    model, probe = model_of().requires_grad_(True), probe_of(40)
    before = model(probe.text_BT)
    shown = []
    with (
        pytest.raises(ValueError, match="only where gradients are off"),
        reading(model, [lambda *given: shown.append(given)] * 2),
    ):
        model(probe.text_BT)
    probe.look(model)
    assert torch.equal(model(probe.text_BT), before)
    assert not shown
    assert all(weight.grad is None for weight in model.parameters())


def test_checkpointed_blocks_and_bfloat16_show_the_same():
    model, probe = model_of(d_mlp=16), probe_of(40)
    plain = probe.look(model)
    for block in model.blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    assert probe.look(model) == plain
    low = probe.look(model.to(torch.bfloat16))
    assert low == pytest.approx(plain, abs=0.03)
    assert low != plain


# --- drawing a probe --------------------------------------------------------------------------------------------------


def text_of(lengths, vocab_size=60, seed=0):
    """A corpus's held-out documents, each token unlike its neighbours, so that a piece shows where it is from."""
    tokens = np.concatenate([[0, *(np.arange(length) % (vocab_size - 1) + 1)] for length in lengths]).astype(np.uint16)
    offsets = np.cumsum([0, *(length + 1 for length in lengths)])
    counts = np.arange(vocab_size)[::-1] * (np.arange(vocab_size) != 7)  # 1 is the commonest, 7 never comes
    return SimpleNamespace(start_token=0, held_out=tokens, held_out_offsets=offsets, token_counts=counts)


def test_a_probe_is_drawn_of_held_out_documents_and_middling_tokens():
    text = text_of([36, 35, 100, 72])
    drawn = live_probe(text, Watch(n_examples=20, n_sequences=3), Probes(period=10, n_repeats=4), IN_CONTEXT, 128)
    assert drawn.repeated_BT.shape == (3, 41)
    assert (drawn.repeated_BT[:, 0] == 0).all()
    for sequence in drawn.repeated_BT[:, 1:].reshape(3, 4, 10):
        assert (sequence == sequence[0]).all()
        assert len(set(sequence[0].tolist())) == 10
    # of 57 tokens that were seen (not 0, 7, nor 59, whose count is 0), 2 are too rare and 2 too common
    assert set(drawn.repeated_BT[:, 1:].flatten().tolist()) <= set(range(3, 57)) - {7}
    # pieces of 36: one, none, two and two
    assert drawn.text_BT.shape == (5, 37)
    assert (drawn.text_BT[:, 0] == 0).all()
    assert sorted(int(piece[1]) for piece in drawn.text_BT) == [1, 1, 1, 37, 37]
    assert all((b - a) % 59 == 1 for piece in drawn.text_BT[:, 1:].tolist() for a, b in pairwise(piece))
    again = live_probe(text, Watch(n_examples=3, n_sequences=3), Probes(period=10, n_repeats=4), IN_CONTEXT, 128)
    assert torch.equal(again.repeated_BT, drawn.repeated_BT)
    assert torch.equal(again.text_BT, drawn.text_BT[:3])


def test_a_vocabulary_shorter_than_the_period_repeats_sooner():
    drawn = live_probe(text_of([99], vocab_size=12), Watch(), Probes(), IN_CONTEXT, 128)
    # 1 to 6 and 8 to 10; 5% of nine is none
    assert drawn.period == 9
    assert drawn.repeated_BT.shape == (4, 1 + 4 * 9)


def test_a_context_or_held_out_text_too_short_is_told():
    with pytest.raises(InductionError, match=r"need 101 tokens, and n_ctx is 100. Lower period or n_repeats of probes"):
        live_probe(text_of([99]), Watch(), Probes(), IN_CONTEXT, 100)
    with pytest.raises(InductionError, match=r"need 510 tokens, and n_ctx is 509. Lower late and late_window"):
        live_probe(text_of([99]), Watch(), Probes(), InContext(), 509)
    with pytest.raises(InductionError, match=r"examples of 36 tokens.*hold 1 such pieces.*set every to 0"):
        live_probe(text_of([50]), Watch(), Probes(), IN_CONTEXT, 128)


# --- the early warning ------------------------------------------------------------------------------------------------


def looks_of(scores, icl):
    return [
        {"step": 50 * place, "tokens": 1000 * place, "prefix_matching": score, "icl": learnt}
        for place, (score, learnt) in enumerate(zip(scores, icl, strict=True), start=1)
    ]


def states_of(looks, **rules):
    """The state after each look, and since which step."""
    told = [phase_change(looks[:n], Watch(**rules)) for n in range(1, len(looks) + 1)]
    return [(state, since and since["step"]) for state, since in told]


def noise(n, deviation, seed=0):
    return np.random.default_rng(seed).normal(0, deviation, n)


BEFORE = 0.03 + noise(12, 0.003)


def test_a_rise_begins_the_change_and_a_fall_of_icl_shows_it():
    scores = [*BEFORE, 0.08, 0.16, 0.3, 0.5, 0.6, 0.6, 0.6, 0.6]
    icl = [*(0.1 + noise(12, 0.03, 1)), 0.1, 0.1, 0.1, 0.0, -0.2, -0.3, -0.3, -0.3]
    states = states_of(looks_of(scores, icl))
    assert states[:14] == [(NOT_YET, None)] * 14, "one look above the threshold is not enough"
    assert states[14:16] == [(BEGINNING, 700)] * 2
    # with noise of 0.03 the fall must exceed 3 x 0.03 x (1/10 + 1/3)^0.5 = 0.06; at look 17 it is 0.1 - (0.1 + 0 - 0.2)/3
    assert states[16:] == [(SEEN, 850)] * 4, "since the look that showed it, and for good"


def test_a_rise_without_a_fall_is_only_a_beginning():
    n = 12
    scores, icl = [*BEFORE, *[0.5] * n], 0.1 + noise(12 + n, 0.05, 2)
    assert {state for state, _ in states_of(looks_of(scores, icl))} == {NOT_YET, BEGINNING}


def test_a_change_in_the_first_looks_is_not_seen_before_its_noise_is_known():
    scores, icl = [0.03, 0.03, 0.5, 0.5], [0.1, 0.12, -0.5, -0.5]
    assert states_of(looks_of(scores, icl))[-1] == (BEGINNING, 150)
    assert states_of(looks_of([0.03, *scores], [0.08, *icl]))[-1] == (SEEN, 250)


def test_a_rise_that_goes_back_has_begun_nothing():
    scores = [*BEFORE, 0.2, 0.25, 0.3, 0.05, 0.04, 0.04, 0.2, 0.4, 0.6]
    states = states_of(looks_of(scores, [0.1] * 21))
    assert [state for state, _ in states[12:]] == [NOT_YET, *[BEGINNING] * 2, *[NOT_YET] * 4, *[BEGINNING] * 2]
    assert states[-1] == (BEGINNING, 950)


def test_a_layer_alone_never_warns_whatever_its_icl_does():
    """Its in-context learning falls for long, and heads are never above 0.05."""
    scores = np.clip(0.03 + noise(200, 0.01, 3), 0, 0.05)
    icl = 0.2 - 0.4 * np.linspace(0, 1, 200) + noise(200, 0.05, 4)
    assert set(states_of(looks_of(scores, icl))) == {(NOT_YET, None)}


def test_noise_above_the_threshold_is_no_rise():
    """Heads that always match a little, whatever the token, as one does that looks 24 tokens back."""
    scores = 0.14 + noise(200, 0.03, 5)
    assert np.mean(scores > Watch().min_prefix_matching) > 0.8
    assert set(states_of(looks_of(scores, -0.01 * np.arange(200)))) == {(NOT_YET, None)}


def test_a_model_that_has_changed_before_the_first_look_is_known():
    looks = looks_of([0.6, 0.6, 0.2], [-0.3] * 3)
    assert states_of(looks) == [(NOT_YET, None), (SEEN, 50), (SEEN, 50)]


# --- in training ------------------------------------------------------------------------------------------------------

FIELDS = {
    "n_layers": 2,
    "d_model": 16,
    "n_heads": 2,
    "n_ctx": 128,
    "batch_size": 2,
    "warmup_steps": 2,
    "n_steps": 12,
    "snapshots": [{"every": 6}],
    "block_snapshots": 2,
    "optimizer": "adamw",
}


class Counting:
    """Tokens in a pattern, as a corpus."""

    n_train_tokens, training_fingerprint = 10_000, "counting"

    def verify(self, part, n_parts):
        pass

    def read(self, start, stop):
        return np.arange(start, stop) * 7 % 39 + 1


def model_fields(**fields):
    return Model("tiny", "tiny", "tiny", ModelFields(**{**FIELDS, **fields}), vocab_size=40)


def train_block(block, folder, watch, **fields):
    manifest, table = folder / f"block-{block}.json", folder / f"{block}.parquet"
    train(model_fields(**fields).recipe(block), Counting(), manifest, table, tokens_needed=0, watch=watch)


def train_all(folder, watch, **fields):
    for block in range(2):
        train_block(block, folder, watch, **fields)
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("snapshots/*.safetensors")}


def rows_of(folder):
    return [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "fields", [{}, {"optimizer": "muon"}, {"dtype": "bfloat16"}], ids=["adamw", "muon", "bfloat16"]
)
def test_watched_training_is_bit_identical(fields, tmp_path):
    watched = train_all(tmp_path / "watched", probe_of(40, every=2), **fields)
    assert len(watched) == 3
    assert watched == train_all(tmp_path / "alone", None, **fields)
    looks = {row["look"]["step"]: row["look"] for row in rows_of(tmp_path / "watched")}
    assert sorted(looks) == [2, 4, 6, 8, 10, 12]
    assert [look["tokens"] for look in looks.values()] == [256 * step for step in looks]
    assert {look["phase_change"] for look in looks.values()} == {NOT_YET}


class Planted:
    """A probe whose prefix matching is planted: no model that trains for seconds changes."""

    every = 2

    def __init__(self, scores):
        self.scores, self.probe = iter(scores), probe_of(40)
        self.told, self.phase_change = self.probe.told, self.probe.phase_change

    def look(self, model):
        return {**self.probe.look(model), "prefix_matching": next(self.scores)}


def test_a_turn_is_said_once_and_remembered_by_the_next_job(tmp_path, capsys):
    planted = Planted([0.03, 0.03, 0.5, 0.5, 0.5, 0.5])
    train_block(0, tmp_path, planted)
    with (tmp_path / "progress.jsonl").open("a") as file:
        file.write('{"block": "block-0", "st')  # a writer that was killed
    train_block(1, tmp_path, planted)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("phase change")]
    assert len(said) == 1
    assert said[0].startswith("phase change beginning at step 6, 1,536 tokens: prefix matching 0.50 (layer ")
    last = json.loads((tmp_path / "progress.jsonl").read_text().splitlines()[-1])
    assert (last["look"]["phase_change"], last["look"]["since_tokens"]) == (BEGINNING, 1536)


def test_training_from_the_start_forgets_what_was_seen_before(tmp_path):
    (tmp_path / "progress.jsonl").write_text('{"block": "block-0", "step": 1, "look": {"step": 1}}\n')
    train_all(tmp_path, probe_of(40, every=2))
    assert [row["step"] for row in rows_of(tmp_path)] == [2, 4, 6, 8, 10, 12]


# --- on ranks ---------------------------------------------------------------------------------------------------------

RANK_CASES = {
    "stage 3": {"stage": 3},
    "stage 3, checkpointed": {"stage": 3, "checkpoint_activations": True},
    "stage 1": {"stage": 1},
    "stage 0": {"stage": 0},
    "stage 3, bfloat16": {"stage": 3, "dtype": "bfloat16"},
}
SETTINGS = model_fields(init_deviation=0.5, d_mlp=16).recipe(0)["settings"]
SHAPE = model_fields(d_mlp=16).architecture


def batches():
    return torch.randint(0, 40, (6, 2, 129), generator=torch.Generator().manual_seed(1))


def trained(engine, looks_at=None):
    """Take six steps, looked at after each or never; return what was seen and the hash of the weights."""
    seen = []
    for batch_BT in batches():
        engine.step(batch_BT[engine.share(2)], 1.0, 0.01)
        if looks_at:
            seen.append(engine.look(looks_at.look))
    digest = hashlib.sha256()
    for _, weight in engine.weights():
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return seen, digest.hexdigest()


def rank_main(out):
    torch.set_num_threads(1)
    ranks, outcomes = join(), {}
    for name, case in RANK_CASES.items():
        how = {key: value for key, value in case.items() if key != "dtype"}
        settings = {**SETTINGS, "dtype": case.get("dtype", "float32")}
        looked, alone = (trained(ZeroEngine(SHAPE, settings, ranks, **how), at) for at in (probe_of(40), None))
        outcomes[name] = {"seen": looked[0], "watched": looked[1], "alone": alone[1]}
    Path(f"{out}.{ranks.rank}").write_text(json.dumps(outcomes))
    ranks.leave()


def test_ranks_that_share_weights_see_what_one_process_sees(tmp_path):
    launcher = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        __file__,
        str(tmp_path / "seen"),
    ]
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, *launcher], env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr[-4000:]
    first, second = (json.loads((tmp_path / f"seen.{rank}").read_text()) for rank in range(2))
    expected, _ = trained(PlainEngine(SHAPE, SETTINGS, "cpu"), probe_of(40))
    assert np.ptp([look["prefix_matching"] for look in expected]) > 1e-3, "training must change what is seen"
    for name in RANK_CASES:
        assert first[name] == second[name], "all ranks see the same"
        assert first[name]["watched"] == first[name]["alone"], "and training does not notice"
        tolerance = 0.05 if "bfloat16" in name else 1e-4
        for look, plain in zip(first[name]["seen"], expected, strict=True):
            assert look == pytest.approx(plain, abs=tolerance), name


if __name__ == "__main__":
    rank_main(sys.argv[1])
