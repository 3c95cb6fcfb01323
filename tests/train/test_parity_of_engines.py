"""Every engine, on real ranks, trains the same model, and goes on from what another has left.

Bounds: float32 rounds to 6e-8 of a number, and engines differ in the order of their sums alone. Over 50 steps that
becomes 1e-6 nats (two units of the table's float32), 7e-6 of a gradient's norm, 4e-7 of a weight's, as measured; the
bounds are about ten times that. The smallest change of the recipe moves the loss fifty times as far (tested below).
"""

import json
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from engine_runs import N_STEPS, Case, command, make_corpus, run, started, torchrun, train_on_ranks

from induction.errors import InductionError
from induction.models.snapshots import open_snapshots
from induction.models.tensor_files import read_tensors
from induction.study.architecture import Architecture
from induction.tables.training import TRAINING
from induction.train.plain import PlainEngine
from induction.train.ranks import Ranks
from induction.train.states import Progress, States

LOSS_NATS = 1e-5
GRADIENT_NORM = 1e-4
WEIGHTS = 5e-6
MOMENTS = 1e-4
STOPPED_AT, ENDED_AT = 17, 30
STAGES = (0, 1, 2, 3)
BFLOAT16_NATS = 2.0**-8
ALONE = Ranks(device="cpu")


def deepspeed(folder, stage, fields=None, micro_batch=None, checkpoint=False, **case):
    how = {"engine": "deepspeed", "zero_stage": stage, "micro_batch": micro_batch, "checkpoint_activations": checkpoint}
    return Case(str(folder), fields or {}, how, **case)


def stopping(case, number, rank=0):
    return replace(
        case, fields={"n_steps": ENDED_AT}, look_every=1, signal=number, after_looks=STOPPED_AT, to_rank=rank
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="module")
def corpus(root):
    return make_corpus(root)


@pytest.fixture(scope="module")
def plain(root, corpus):
    case = Case(str(root / "plain"))
    return case, run(case, corpus, ALONE)["seen"]


@pytest.fixture(scope="module")
def killed(root, corpus):
    """A run of 2 ranks, one of which was killed after step 10."""
    case = deepspeed(root / "killed", 3)
    options = ("--engine", "deepspeed", "--zero-stage", "3", "--micro-batch", "1")
    with started(2, command(case, corpus, *options), root / "killed.log") as processes:
        wait_for_state(case, 10, processes)
        processes[1].kill()
        statuses = [process.wait(timeout=60) for process in processes]
    assert statuses[1] == -signal.SIGKILL
    assert statuses[0] not in (0, -signal.SIGKILL), "the other one ends too, by itself"
    assert not case.manifest.exists(), "killed in the middle of the block"
    return Left(case)


@pytest.fixture(scope="module")
def one_rank(root, corpus, killed):
    """What a single rank trained: every stage; one stopped; and the rest of the run whose rank was killed."""
    cases = {f"stage {stage}": deepspeed(root / f"1-{stage}", stage, micro_batch=2) for stage in STAGES}
    cases["stopped"] = stopping(deepspeed(root / "1-stopped", 1), signal.SIGTERM)
    cases["killed"] = replace(killed.case, look_every=1)
    return train_on_ranks(1, cases, corpus, root / "one")


@pytest.fixture(scope="module")
def left(root, corpus, one_rank):
    """Runs stopped on a single rank: by the plain engine, with AdamW and with Muon, and by DeepSpeed."""
    plain, muon = (stopping(Case(str(root / f"{name}-stopped")), signal.SIGINT) for name in ("plain", "muon"))
    muon = replace(muon, fields={**muon.fields, "optimizer": "muon"})
    for case in (plain, muon):
        assert run(case, corpus, ALONE)["status"] == 128 + signal.SIGINT
    case, outcome = one_rank["stopped"]
    assert outcome["status"] == 128 + signal.SIGTERM
    return {"plain": Left(plain), "deepspeed": Left(case), "muon": Left(muon)}


@pytest.fixture(scope="module")
def two_ranks(root, corpus, left):
    """What 2 ranks trained, by name: case, and what each rank had to tell."""
    cases = {f"stage {stage}": deepspeed(root / f"2-{stage}", stage) for stage in STAGES[1:]}
    for stage in STAGES:
        cases[f"checkpointed {stage}"] = deepspeed(root / f"2-{stage}-c", stage, {"n_steps": 15}, 1, checkpoint=True)
    for stage in STAGES:
        cases[f"bfloat16 {stage}"] = deepspeed(root / f"2-{stage}-low", stage, {"dtype": "bfloat16", "n_steps": 30})
    cases["muon"] = deepspeed(root / "2-muon", 0, {"optimizer": "muon"}, 1)
    cases["muon went on"] = deepspeed(left["muon"].case.folder, 0, {"optimizer": "muon", "n_steps": ENDED_AT})
    for by, stage in (("plain", 2), ("deepspeed", 3)):
        cases[f"after {by}"] = deepspeed(left[by].case.folder, stage, {"n_steps": ENDED_AT}, look_every=1)
    cases["requeued"] = stopping(deepspeed(root / "2-requeued", 3), signal.SIGUSR1, rank=1)
    cases["interrupted"] = stopping(deepspeed(root / "2-interrupted", 1), signal.SIGINT)
    return train_on_ranks(2, cases, corpus, root / "two")


class Left:
    """What a run that ended early has left: its case, the step to go on from, and its snapshots."""

    def __init__(self, case):
        self.case = case
        self.step = max(step for step, paths in states(case).items() if is_whole(paths))
        self.snapshots = {path: path.stat().st_mtime_ns for path in (Path(case.folder) / "snapshots").iterdir()}


def states(case):
    """Files of the states in a case's folder, by step."""
    found = {}
    for path in sorted(Path(case.folder).glob("state-*.safetensors")):
        found.setdefault(int(path.name.split("-")[1].split(".")[0]), []).append(path)
    return found


def is_whole(paths):
    return len(paths) == (2 if paths[0].name.endswith("-of-2.safetensors") else 1)


def wait_for_state(case, step, processes):
    whole = [Path(case.folder) / f"state-{step:08d}-{rank}-of-2.safetensors" for rank in range(2)]
    until = time.monotonic() + 120
    while not all(path.exists() for path in whole):
        assert all(process.poll() is None for process in processes)
        assert time.monotonic() < until
        time.sleep(0.002)


def curve(case, name="loss", until=None):
    return TRAINING.read(case.table)[name].to_numpy()[:until]


def loss_difference(case, reference):
    """Greatest difference of a step's loss, nats, over the steps of a case, which may be fewer."""
    losses = curve(case)
    return np.abs(losses - curve(reference, until=len(losses))).max()


def assert_same_curve(case, reference, n_steps=N_STEPS):
    for name in ("step", "tokens", "learning_rate"):
        assert curve(case, name).tolist() == curve(reference, name, n_steps).tolist()
    assert loss_difference(case, reference) < LOSS_NATS
    expected = curve(reference, "gradient_norm", n_steps)
    assert curve(case, "gradient_norm") == pytest.approx(expected, rel=GRADIENT_NORM)


def assert_same_model(case, reference):
    """The last snapshot of a case is the reference's of that step."""
    snapshot = sorted((Path(case.folder) / "snapshots").iterdir())[-1].relative_to(case.folder)
    weights, expected = (read_tensors(Path(one.folder) / snapshot, "snapshot")[0] for one in (case, reference))
    far = {name: ((weights[name] - expected[name]).norm() / expected[name].norm()).item() for name in expected}
    assert max(far.values()) < WEIGHTS, far


# --- the same training ------------------------------------------------------------------------------------------


def test_the_recipe_says_all_that_it_should(plain):
    rows = TRAINING.read(plain[0].table)
    clipped = (rows["gradient_norm"] > 0.6).sum()
    assert N_STEPS / 2 < clipped < N_STEPS, "clipping acts on most steps, and not on all"
    assert rows["tokens"].to_list() == [128 * min(s, 13) + 256 * max(s - 13, 0) for s in range(N_STEPS)]
    assert rows["loss"][-5:].mean() < rows["loss"][0] - 1.5, "there is a curve to join"


@pytest.mark.parametrize(
    "without",
    [
        {"gradient_clip": 10.0},
        {"weight_decay_changes": None},
        {"rate_decay": None},
        {"batch_growth": None},
        {"warmup_steps": 4},
        {"beta2": 0.951},
    ],
    ids=lambda without: next(iter(without)),
)
def test_the_bounds_see_every_part_of_the_recipe(without, plain, corpus, tmp_path):
    other = Case(str(tmp_path), {**without, "n_steps": 40})
    run(other, corpus, ALONE)
    assert loss_difference(other, plain[0]) > 50 * LOSS_NATS


@pytest.mark.parametrize("stage", STAGES)
def test_one_rank_trains_as_the_plain_engine(stage, one_rank, plain):
    case, outcome = one_rank[f"stage {stage}"]
    assert_same_curve(case, plain[0])
    assert_same_model(case, plain[0])
    assert outcome["seen"] == pytest.approx(plain[1], rel=1e-4), "a watch sees the same model"


@pytest.mark.parametrize("stage", STAGES[1:])
def test_two_ranks_train_as_the_plain_engine(stage, two_ranks, plain):
    case, *outcomes = two_ranks[f"stage {stage}"]
    assert_same_curve(case, plain[0])
    assert_same_model(case, plain[0])
    for outcome in outcomes:
        assert outcome["seen"] == pytest.approx(plain[1], rel=1e-4), "a watch sees the same model on each rank"


@pytest.mark.parametrize("stage", STAGES)
def test_activations_computed_again_give_the_same_losses(stage, two_ranks, plain):
    assert_same_curve(two_ranks[f"checkpointed {stage}"][0], plain[0], n_steps=15)


@pytest.mark.parametrize("stage", STAGES[1:])
def test_snapshots_and_manifests_tell_the_same_of_any_engine(stage, two_ranks, plain):
    case, reference = two_ranks[f"stage {stage}"][0], plain[0]
    manifests = [json.loads(one.manifest.read_text()) for one in (case, reference)]
    for manifest, one in zip(manifests, (case, reference), strict=True):
        assert manifest.pop("model") == Path(one.folder).name
        del manifest["content_sha256"]  # of the snapshots' hashes too
        for entry in manifest["snapshots"]:
            del entry["sha256"]
    assert manifests[0] == manifests[1]
    for entry in manifests[0]["snapshots"]:
        headers = []
        for one in (case, reference):
            with (Path(one.folder) / entry["file"]).open("rb") as file:
                headers.append(file.read(int.from_bytes(file.read(8), "little")))
        assert headers[0] == headers[1]
    first = [(Path(one.folder) / manifests[0]["snapshots"][0]["file"]).read_bytes() for one in (case, reference)]
    assert first[0] == first[1], "the initial weights are the same numbers"
    assert [snapshot.step for snapshot in open_snapshots(case.manifest)] == [0, 10, 20, 30, 40, 50]


# --- bfloat16 and Muon ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_bfloat16_rounds_the_losses_and_not_the_weights(stage, two_ranks, plain):
    """bfloat16 rounds a product by up to 2^-8 of it: that many nats are granted to a loss of 4 to 6.

    Measured: a quarter of it, as errors of any sign go out in the mean over a batch.
    """
    case = two_ranks[f"bfloat16 {stage}"][0]
    assert LOSS_NATS < loss_difference(case, plain[0]) < BFLOAT16_NATS
    weights, _ = read_tensors(Path(case.folder) / "snapshots/step-00000030.safetensors", "snapshot")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    flat = torch.cat([weight.flatten() for weight in weights.values()])
    # bfloat16 drops 16 digits of 24: by chance one weight in 65,536 has none of them, and there are 36,000.
    assert (flat == flat.bfloat16()).float().mean() < 1e-3


def test_muon_trains_as_in_the_plain_engine(two_ranks, corpus, tmp_path):
    """Newton and Schulz's products are in bfloat16: a gradient's last digit decides which way they round, by 2^-8.

    So updates differ by parts in a thousand and in any direction. Measured: 1e-4 nats; ten times that is granted.
    """
    reference = Case(str(tmp_path), {"optimizer": "muon"})
    run(reference, corpus, ALONE)
    assert loss_difference(two_ranks["muon"][0], reference) < 1e-3
    went_on = two_ranks["muon went on"][0]
    assert curve(went_on, "step").tolist() == list(range(ENDED_AT))
    assert loss_difference(went_on, reference) < 1e-3
    other = Case(str(tmp_path / "other"), {"optimizer": "muon", "gradient_clip": 10.0})
    run(other, corpus, ALONE)
    assert loss_difference(other, reference) > 5e-3, "the bound sees the clipping"


# --- stopped on some ranks, gone on with on others --------------------------------------------------------------


def assert_joined(left, outcome, reference):
    """The curve is that of a run that never stopped; what was trained is kept, and only the rest is trained."""
    n_steps = left.case.recipe["steps"][-1]
    assert outcome["status"] == 0
    assert len(outcome["seen"]) == n_steps - left.step
    assert_same_curve(left.case, reference, n_steps)
    assert_same_model(left.case, reference)
    assert left.snapshots == {path: path.stat().st_mtime_ns for path in left.snapshots}
    assert [snapshot.step for snapshot in open_snapshots(left.case.manifest)] == left.case.recipe["steps"]


def test_a_rank_that_is_killed_costs_the_steps_since_the_last_snapshot(killed, one_rank, plain):
    assert killed.step in (10, 20, 30, 40)
    assert_joined(killed, one_rank["killed"][1], plain[0])


@pytest.mark.parametrize("by", ["plain", "deepspeed"])
def test_two_ranks_go_on_from_one(by, left, two_ranks, plain):
    assert left[by].step == STOPPED_AT
    for outcome in two_ranks[f"after {by}"][1:]:
        assert_joined(left[by], outcome, plain[0])


@pytest.mark.parametrize(("how", "number"), [("requeued", signal.SIGUSR1), ("interrupted", signal.SIGINT)])
def test_one_process_goes_on_from_two_ranks_of_which_one_was_signalled(how, number, two_ranks, plain, corpus, tmp_path):
    case, *outcomes = two_ranks[how]
    assert [outcome["status"] for outcome in outcomes] == [128 + number] * 2
    shutil.copytree(case.folder, tmp_path / "copy")
    left = Left(Case(str(tmp_path / "copy"), {"n_steps": ENDED_AT}, look_every=1))
    assert left.step == STOPPED_AT
    assert_joined(left, run(left.case, corpus, ALONE), plain[0])


def test_sigterm_to_torchrun_saves_the_state_and_leaves_no_process(root, corpus, plain):
    case = Case(str(root / "terminated"), look_every=1)
    options = ("--engine", "deepspeed", "--zero-stage", "2", "--micro-batch", "1")
    with torchrun(2, command(case, corpus, *options), root / "terminated.log") as launcher:
        wait_for_state(case, 10, [launcher])
        ranks = psutil.Process(launcher.pid).children(recursive=True)
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(timeout=60) != 0
        assert not psutil.wait_procs(ranks, timeout=10)[1]
    said = (root / "terminated.log").read_text()
    left = Left(case)
    assert said.count(f"block-0: stopped at step {left.step}; run again to go on") == 1
    assert not case.manifest.exists()
    assert_joined(left, run(case, corpus, ALONE), plain[0])


# --- states -----------------------------------------------------------------------------------------------------


def states_of(folder, case):
    """The states in a folder, as those of a case's run."""
    _, about = read_tensors(states(case)[STOPPED_AT][0], "state")
    return States(folder, about["identity"], ALONE)


def test_parts_of_two_savings_are_no_state(two_ranks, tmp_path):
    """Two runs of one recipe were stopped at the same step."""
    parts = {}
    for how in ("requeued", "interrupted"):
        case = two_ranks[how][0]
        parts[how] = [Path(case.folder) / f"state-{STOPPED_AT:08d}-{rank}-of-2.safetensors" for rank in range(2)]
    known = states_of(tmp_path, case)
    shutil.copytree(Path(case.folder) / "snapshots", tmp_path / "snapshots")
    shutil.copy(parts["interrupted"][0], tmp_path)
    assert known.latest(0, [0, 10, 20]) is None, "a part is missing"
    shutil.copy(parts["requeued"][1], tmp_path)
    assert known.latest(0, [0, 10, 20]) is None, "the other part is of another saving"
    with pytest.raises(InductionError, match=rf"holds no whole state of step {STOPPED_AT}"):
        known.load(STOPPED_AT, None)
    shutil.copy(parts["interrupted"][1], tmp_path)
    progress = known.latest(0, [0, 10, 20])
    assert (progress.step, progress.block_start, len(progress.rows)) == (STOPPED_AT, 0, STOPPED_AT)


def test_a_state_takes_the_place_of_one_of_that_step_by_another_number_of_ranks(two_ranks, tmp_path):
    case = two_ranks["interrupted"][0]
    for path in states(case)[STOPPED_AT]:
        shutil.copy(path, tmp_path)
    engine = PlainEngine(Architecture(**case.recipe["architecture"]), case.recipe["settings"], "cpu")
    states_of(tmp_path, case).save(Progress(STOPPED_AT, 0), engine)
    assert [path.name for path in tmp_path.iterdir()] == [f"state-{STOPPED_AT:08d}.safetensors"]


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_state_holds_weights_and_moments_by_name_whatever_wrote_it(stage, two_ranks, plain):
    (expected,), parts = (
        [read_tensors(path, "state")[0] for path in states(case)[N_STEPS]]
        for case in (plain[0], two_ranks[f"stage {stage}"][0])
    )
    assert len(parts) == 2
    assert not parts[0].keys() & parts[1].keys()
    assert (parts[0] | parts[1]).keys() == expected.keys()
    for name, tensor in (parts[0] | parts[1]).items():
        assert (tensor - expected[name]).norm() < MOMENTS * expected[name].norm(), name
