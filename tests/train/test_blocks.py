"""A block that was killed, repeated or cut differently has the weights of one that was not."""

import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from induction.corpus.build import corpus
from induction.corpus.shards import open_corpus
from induction.errors import InductionError
from induction.models.snapshots import open_snapshots
from induction.study.config import ModelFields
from induction.study.corpora import Corpus, Source
from induction.study.study import Model
from induction.tables.training import TRAINING
from induction.train.loop import HowToTrain, _keep_snapshot, train
from induction.train.optimizers import Rates, optimizers
from induction.train.order import DataOrder
from induction.train.plain import PlainEngine
from induction.train.ranks import Ranks
from induction.train.states import States

FIELDS = {
    "n_layers": 1,
    "d_model": 32,
    "n_heads": 2,
    "n_ctx": 32,
    "batch_size": 2,
    "warmup_steps": 5,
    "n_steps": 40,
    "snapshots": [{"every": 10}],
    "block_snapshots": 3,
}


def model(**fields):
    return Model("tiny", "tiny", "tiny", ModelFields(**{**FIELDS, **fields}), vocab_size=300)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """A corpus of words drawn at random, about 40,000 tokens."""
    folder = tmp_path_factory.mktemp("corpus")
    generator = random.Random(0)
    words = ["".join(generator.choices("abcdefghij", k=generator.randint(2, 7))) for _ in range(400)]
    for index in range(60):
        (folder / f"{index}.txt").write_text(" ".join(generator.choices(words, k=300)), encoding="utf-8")
    out = folder / "corpus"
    corpus(Corpus(sources=(Source(files=str(folder / "*.txt")),), vocab_size=300), "tiny", out)
    return out / "manifest.json"


@pytest.fixture(scope="module")
def tokens(manifest):
    return open_corpus(manifest.parent)


def train_all(which, tokens, folder):
    for block in range(len(which.blocks)):
        train_block(which, block, tokens, folder)
    return folder


def train_block(which, block, tokens, folder):
    manifest, table = folder / f"block-{block}.json", table_path(folder, block)
    train(which.recipe(block), tokens, manifest, table, tokens_needed=which.tokens_needed)


def table_path(folder, block):
    return folder / "model=tiny" / f"block-{block}.parquet"


def weights(folder):
    """Hash of every snapshot file, by step."""
    files = sorted((folder / "snapshots").glob("*.safetensors"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def whole(tokens, tmp_path_factory):
    """The uninterrupted run."""
    return train_all(model(), tokens, tmp_path_factory.mktemp("whole"))


def test_a_block_has_the_snapshots_and_rows_of_its_recipe(whole):
    steps = [[s.step for s in open_snapshots(whole / f"block-{block}.json")] for block in range(2)]
    assert steps == [[0, 10, 20], [30, 40]]
    rows = TRAINING.read([table_path(whole, 0), table_path(whole, 1)])
    assert rows["step"].to_list() == list(range(40))
    assert rows["tokens"].to_list() == [64 * step for step in range(40)]
    assert rows["loss"][0] == pytest.approx(np.log(300), abs=0.05), "before training: the loss of no knowledge"
    assert rows["loss"][-5:].mean() < rows["loss"][0] - 0.5
    assert rows["learning_rate"][:6].to_list() == pytest.approx([4e-3 * min(1, (s + 1) / 5) for s in range(6)])


def test_held_out_documents_that_are_dropped_train_nothing_again(whole, tokens, tmp_path, monkeypatch):
    # What differs where documents were dropped (tests/corpus/test_overlap.py): the fingerprint of all, not of training.
    again = dataclasses.replace(tokens, fingerprint="another")
    folder = tmp_path / whole.name
    shutil.copytree(whole, folder)
    before = [(folder / f"block-{block}.json").read_bytes() for block in range(2)]
    for block in range(2):
        (folder / f"block-{block}.json").unlink()
    monkeypatch.setattr("induction.train.loop._step", lambda *_: pytest.fail("a step was taken"))
    train_all(model(), again, folder)
    assert [(folder / f"block-{block}.json").read_bytes() for block in range(2)] == before


def test_blocks_of_another_size_train_the_same_weights(whole, tokens, tmp_path):
    assert weights(train_all(model(block_snapshots=2), tokens, tmp_path)) == weights(whole)


@pytest.mark.parametrize(
    "later",
    [
        {"snapshots": [{"every": 5}], "block_snapshots": 5},
        {"snapshots": [{"every": 20}], "block_snapshots": 2},
        {"n_steps": 60},
        {"n_steps": 33},
    ],
    ids=["denser", "sparser", "longer", "shorter"],
)
def test_a_changed_schedule_goes_on_to_the_snapshots_of_a_fresh_run(later, tokens, tmp_path):
    """States of the former schedule lie there, one of them of a block's last step that is no snapshot any more."""
    folder = train_all(model(n_steps=35), tokens, tmp_path / "changed" / "tiny")
    changed, fresh = model(**later), train_all(model(**later), tokens, tmp_path / "fresh" / "tiny")
    train_all(changed, tokens, folder)
    for block, steps in enumerate(changed.blocks):
        manifests = [json.loads((run / f"block-{block}.json").read_text()) for run in (folder, fresh)]
        assert manifests[0] == manifests[1]
        assert [entry["step"] for entry in manifests[0]["snapshots"]] == list(steps)
        assert TRAINING.read(table_path(folder, block))["step"].equals(TRAINING.read(table_path(fresh, block))["step"])


def test_more_steps_add_blocks_and_change_none(whole, tokens):
    short, long = model(n_steps=20), model(n_steps=80)
    assert short.recipe(0) == long.recipe(0) == model().recipe(0)
    assert len(long.blocks) == 3


@pytest.mark.parametrize(
    ("how", "optimizer"), [(signal.SIGKILL, "muon"), (signal.SIGTERM, "adamw"), (signal.SIGINT, "adamw")]
)
def test_killed_at_any_moment_and_run_again_is_bit_identical(how, optimizer, manifest, tokens, tmp_path):
    fields = {"optimizer": optimizer, "n_steps": 400, "snapshots": [{"every": 40}], "block_snapshots": 20}
    whole = train_all(model(**fields), tokens, tmp_path / "whole" / "tiny")
    folder, generator = tmp_path / "killed" / "tiny", random.Random(f"{how}{optimizer}")
    kills = 0
    for _ in range(20):
        process = start(model(**fields), manifest, folder)
        progress = len(list((folder / "snapshots").glob("*"))) + generator.randint(2, 4)
        while process.poll() is None and len(list((folder / "snapshots").glob("*"))) < progress:
            time.sleep(0.001)
        time.sleep(generator.random() * 0.1)
        process.send_signal(how)
        code = process.wait(timeout=60)
        assert code in (0, -how, 128 + how), process.stderr.read()
        kills += code != 0
        if code == 0:
            break
        assert not (folder / "block-0.json").exists(), "a manifest is written last"
    assert code == 0
    assert kills >= 2, "the run must have been killed for this test to say anything"
    assert weights(folder) == weights(whole)
    assert json.loads((folder / "block-0.json").read_text()) == json.loads((whole / "block-0.json").read_text())
    same = ["step", "tokens", "loss", "gradient_norm", "learning_rate"]
    assert TRAINING.read(table_path(folder, 0), same).equals(TRAINING.read(table_path(whole, 0), same))


def start(which, manifest, folder):
    command = [sys.executable, "-m", "induction", "train", str(manifest), "--recipe", json.dumps(which.recipe(0))]
    command += ["--tokens-needed", "0", "--out", str(folder / "block-0.json"), "--table", str(table_path(folder, 0))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def test_a_lost_or_changed_snapshot_is_trained_again(tokens, tmp_path):
    folder = train_all(model(), tokens, tmp_path)
    before = weights(folder)
    lost, changed = (folder / "snapshots" / f"step-{step:08d}.safetensors" for step in (30, 10))
    lost.unlink()
    changed.write_bytes(changed.read_bytes()[:-1] + b"\x00")
    with pytest.raises(InductionError, match=r"step-00000030.*missing.*--forcerun train"):
        list(open_snapshots(folder / "block-1.json"))
    with pytest.raises(InductionError, match=r"step-00000010.*has changed"):
        list(open_snapshots(folder / "block-0.json"))
    with pytest.raises(InductionError, match=r"block-0.json: names no snapshot of step 15, 25"):
        list(open_snapshots(folder / "block-0.json", [0, 15, 25]))
    for block in (1, 0):
        train_block(model(), block, tokens, folder)
    assert weights(folder) == before


def test_the_state_of_another_recipe_is_not_gone_on_from(whole, tokens, tmp_path):
    other = model(learning_rate=1e-3)
    expected = train_all(other, tokens, tmp_path / "alone")
    mixed = train_all(model(), tokens, tmp_path / "mixed")
    assert weights(train_all(other, tokens, mixed)) == weights(expected) != weights(whole)


def test_a_block_without_any_state_is_trained_from_the_start(whole, tokens, tmp_path):
    train_block(model(), 1, tokens, tmp_path)
    late = {
        name: value
        for name, value in weights(whole).items()
        if name in ("step-00000030.safetensors", "step-00000040.safetensors")
    }
    assert weights(tmp_path) == late
    assert TRAINING.read(table_path(tmp_path, 1))["step"].to_list() == list(range(20, 40))


def test_a_corpus_too_short_is_told_before_training(tokens, tmp_path):
    n_steps = (tokens.n_train_tokens - 1) // 64 + 1
    with pytest.raises(InductionError) as told:
        train_block(model(n_steps=n_steps), 0, tokens, tmp_path)
    assert f"corpus packages holds {tokens.n_train_tokens:,} training tokens" in str(told.value)
    assert f"training would read {n_steps * 64 + 1:,}" in str(told.value)
    assert f"Lower n_steps to {n_steps - 1:,} an epoch" in str(told.value)
    assert not list(tmp_path.iterdir())
    train_block(model(n_steps=n_steps - 1), 0, tokens, tmp_path / "as told")
    train_block(model(n_steps=n_steps, epochs=2.0), 0, tokens, tmp_path)


def test_divergence_is_told(tokens, tmp_path):
    recipe = model(warmup_steps=0, optimizer="adamw").recipe(0)
    wild = recipe | {"settings": recipe["settings"] | {"learning_rate": 1e30}}  # more than the configuration permits
    with pytest.raises(InductionError, match=r"training diverged: the loss of step \d+ is .*Lower learning_rate"):
        train(wild, tokens, tmp_path / "block-0.json", table_path(tmp_path, 0), tokens_needed=65)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_divergence_in_the_last_step_is_told_there(optimizer, tokens, tmp_path):
    """The loss of that step is finite: it is that before the step. What the step left is not seen by another."""
    recipe = model(n_steps=1, snapshots=[{"every": 1}], optimizer=optimizer, warmup_steps=0).recipe(0)
    wild = recipe | {"settings": recipe["settings"] | {"learning_rate": 1e30, "muon_learning_rate": 1e30}}
    table = table_path(tmp_path, 0)
    for _ in range(2):  # a second attempt says the same
        with pytest.raises(InductionError, match=r"^training diverged: the loss after step 1 is nan\. Lower learning_"):
            train(wild, tokens, tmp_path / "block-0.json", table, tokens_needed=65)
    assert not (tmp_path / "block-0.json").exists()
    assert not table.exists()


def test_weights_that_are_not_finite_are_no_snapshot(tmp_path):
    class Engine:
        def shapes(self):
            return {"W_E": (2, 2), "W_U": (2, 2)}

        def weights(self):
            yield "W_E", torch.zeros(2, 2)
            yield "W_U", torch.tensor([[0.0, 1.0], [torch.inf, 0.0]])

    with pytest.raises(InductionError, match=r"training diverged: after step 7 the weights W_U are not finite. Lower"):
        _keep_snapshot(Engine(), 7, 70, {}, {"learning_rate": 0.1}, tmp_path / "block-0.json", Ranks())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_training_numbers_change_only_on_purpose():
    """Stored, not derived: raise TRAINING_VERSION of study/study.py when these must change."""

    class Counting:
        n_train_tokens, training_fingerprint = 10_000, "counting"

        def read(self, start, stop):
            return np.arange(start, stop) * 7 % 300

    losses = {}
    for optimizer in ("adamw", "muon"):
        which = model(optimizer=optimizer, smeared_keys=True, d_mlp=64, n_layers=2)
        engine_losses = []
        recipe = which.recipe(0)
        engine = PlainEngine(which.architecture, recipe["settings"], "cpu")
        order = DataOrder(300, 0)
        for step in range(8):
            rows = [Counting().read(i * 32, i * 32 + 33) for i in order.sequences(np.arange(2 * step, 2 * step + 2))]
            engine_losses.append(engine.step(torch.from_numpy(np.stack(rows)), 1.0, 0.01).loss)
        losses[optimizer] = engine_losses
    assert losses["adamw"] == pytest.approx(STORED["adamw"], abs=2e-3)
    assert losses["muon"] == pytest.approx(STORED["muon"], abs=2e-2), "Muon orthogonalises in bfloat16"


STORED = {
    "adamw": [5.7066, 5.7129, 5.6154, 5.5326, 5.5914, 5.6017, 5.434, 5.4088],
    "muon": [5.7066, 5.7134, 5.6175, 5.5355, 5.5933, 5.6017, 5.4385, 5.411],
}


@pytest.mark.parametrize("fields", [{}, {"positions": "rotary", "d_mlp": 64}, {"n_local_heads": 1, "local_window": 7}])
def test_products_in_bfloat16_train_as_those_in_float32(fields):
    losses = {}
    for dtype in ("float32", "bfloat16"):
        which = model(dtype=dtype, optimizer="adamw", **fields)
        engine = PlainEngine(which.architecture, which.recipe(0)["settings"], "cpu")
        batches = torch.randint(0, 300, (10, 2, 33), generator=torch.Generator().manual_seed(0))
        losses[dtype] = [engine.step(batch, 1.0, 0.01).loss for batch in batches]
        assert {weight.dtype for _, weight in engine.weights()} == {torch.float32}
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.02)
    assert losses["bfloat16"] != losses["float32"]


def test_every_epoch_reads_every_sequence_once():
    order = DataOrder(n_sequences=12, seed=3)
    read = np.concatenate([order.sequences(np.arange(5 * step, 5 * step + 5)) for step in range(12)])
    assert len(read) == 60
    for epoch in range(5):
        assert sorted(read[12 * epoch : 12 * (epoch + 1)]) == list(range(12))
    assert not np.array_equal(read[:12], read[12:24]), "epochs differ in order"
    assert not np.array_equal(read[:12], DataOrder(12, seed=4).sequences(np.arange(12)))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_weight_decay_that_begins_later_acts_on_matrices_alone(optimizer):
    """At a learning rate of 0.1 and a decay of 1, a step of decay alone leaves 0.9 of a matrix."""
    settings = model(optimizer=optimizer, weight_decay=0.0, learning_rate=0.1, muon_learning_rate=0.1).recipe(0)[
        "settings"
    ]
    matrix, vector = torch.ones(4, 4, requires_grad=True), torch.ones(4, requires_grad=True)
    weights = {"blocks.0.W": matrix, "blocks.0.b": vector}
    chosen = optimizers(weights, {"blocks.0.W": (4, 4), "blocks.0.b": (4,)}, settings)
    rates = Rates(chosen.values())
    for weight in weights.values():
        weight.grad = torch.zeros_like(weight)
    for decay, left in ((0.0, 1.0), (1.0, 0.9)):
        rates.set(1.0, decay)
        for each in chosen.values():
            each.step()
        assert matrix.detach().unique().tolist() == pytest.approx([left])
        assert vector.detach().unique().tolist() == [1.0]


def test_states_are_saved_in_between_where_that_is_asked(tokens, tmp_path, monkeypatch):
    """With no minute between two states, every step has one, and only the last is kept."""
    which, saved = model(n_steps=9, snapshots=[{"every": 9}]), []
    save = States.save
    monkeypatch.setattr(
        States, "save", lambda self, progress, engine: saved.append(progress.step) or save(self, progress, engine)
    )
    for folder, minutes in (("often", 0.0), ("seldom", 60.0), ("never", None)):
        saved.clear()
        manifest = tmp_path / folder / "block-0.json"
        how = HowToTrain(state_minutes=minutes)
        train(
            which.recipe(0),
            tokens,
            manifest,
            table_path(tmp_path / folder, 0),
            tokens_needed=which.tokens_needed,
            how=how,
        )
        assert saved == (list(range(10)) if minutes == 0 else [0, 9])
        assert [path.name for path in manifest.parent.glob("state-*")] == ["state-00000009.safetensors"]
    assert weights(tmp_path / "often") == weights(tmp_path / "never")
