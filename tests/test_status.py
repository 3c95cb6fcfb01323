"""What is done, runs, has stalled or failed is told from the files of a study that is planted here, and from SLURM's words.

The process that trains is this one, or one that has ended; SLURM's words are those that squeue and sacct print.
"""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from induction.errors import InductionError
from induction.identity import running_as
from induction.status import Slurm, SlurmJob, as_json, as_text, ask_slurm, count, duration, last_words, show, status
from induction.study.config import ModelsFile, StudyConfig
from induction.study.jobs import Jobs
from induction.study.stages import Node
from induction.study.study import Study
from induction.tables import losses as table_of_losses
from induction.train.reporting import Reporter

NOW = 1_000_000.0
N_STEPS = 400
TRAIN, LOSSES = "rule_train_wildcards_m-{}_{}", "rule_losses_wildcards_m-{}_{}"


def study_of(*seeds):
    """Models of three blocks each, steps 0 to 100, 200 to 300, and 400, of 2,048 tokens a step."""
    base = {"n_steps": N_STEPS, "snapshots": [{"every": 100}], "block_snapshots": 2}
    family = {"label": "m", "name": "m-{seed}", "base": base, "sweep": {"seed": list(seeds)}}
    corpora = {"packages": {"vocab_size": 300, "sources": [{"package": "numpy"}]}}
    config = {"description": "planted", "families": ["m"], "figures": {"pca": {"families": ["m"]}}}
    config["evaluation"] = {"n_examples": 300}
    return Study(
        "planted",
        StudyConfig.model_validate(config),
        ModelsFile.model_validate({"corpora": corpora, "families": {"m": family}}),
    )


def touch(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


def trained(results, model, *blocks):
    for block in blocks:
        touch(results / f"models/{model}/block-{block}.json", "{}")


def measured(results, stage, model, *blocks):
    for block in blocks:
        touch(results / f"tables/{stage}/model={model}/block-{block}.parquet")


def log(results, rule, name, text):
    touch(results / f"logs/{rule}/{name}.log", text)


def progress(results, model, block, step, ago, look=None, after=""):
    row = {"block": f"block-{block}", "step": step, "last": 300, "tokens": 2048 * step, "loss": 3.25}
    row |= {"tokens_per_second": 1024.0, "time": NOW - ago, "look": look}
    path = results / f"models/{model}/progress.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n" + after)


def held_by(results, model, pid, host=None, slurm_job=None):
    touch(
        results / f"models/{model}/.lock",
        json.dumps({"host": host or socket.gethostname(), "pid": pid, "slurm_job": slurm_job}),
    )


@pytest.fixture(scope="module")
def dead():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def told(results, slurm=None, study=None):
    return status(study or study_of(1), results, slurm, NOW)


def only(results, slurm=None):
    [model] = told(results, slurm).models
    return model


def test_blocks_done_are_counted_by_stage(results):
    trained(results, "m-1", 0, 1)
    measured(results, "losses", "m-1", 0, 1)
    measured(results, "heads", "m-1", 1)
    touch(results / "corpora/packages/manifest.json")
    touch(results / "figures/pca.svg")
    found = told(results)
    assert {name: (stage.done, stage.of) for name, stage in found.models[0].stages.items()} == {
        "train": (2, 3),
        "losses": (2, 3),
        "heads": (1, 3),
        "ablations": (0, 3),
    }
    assert (found.models[0].training, found.corpora, found.figures, found.report) == (
        "pending",
        {"packages": "done"},
        (1, 1),
        "pending",
    )
    trained(results, "m-1", 2)
    assert only(results).training == "done"
    assert not told(results).problems


def test_training_runs_while_its_process_does(results):
    trained(results, "m-1", 0)
    log(results, "train", "m-1-1", "")
    held_by(results, "m-1", os.getpid())
    assert only(results).training == "running", "it has begun, and has written nothing yet"
    look = {"step": 200, "tokens": 409_600, "prefix_matching": 0.214, "prefix_matching_layer": 1}
    look |= {
        "prefix_matching_head": 3,
        "icl": -0.118,
        "icl_se": 0.052,
        "phase_change": "beginning",
        "since_tokens": 300_000,
    }
    progress(results, "m-1", 1, 200, ago=30, look=look)
    model = only(results)
    assert (model.training, model.stages["train"].running) == ("running", 1)
    assert model.seconds_left == 2048 * (N_STEPS - 200) / 1024
    line = as_text(told(results)).splitlines()[1]
    for said in ("m-1", "1/3+1", "running 200/400", "410k", "1.02k", "7 min", "3.250", "0.21 (1.3)", "-0.12 ± 0.05"):
        assert f" {said} " in f" {line} "
    assert line.endswith("beginning, 300k")


def test_training_that_is_silent_has_stalled(results):
    progress(results, "m-1", 0, 50, ago=4000)
    held_by(results, "m-1", os.getpid())
    model = only(results)
    assert (model.training, model.silent_seconds, model.seconds_left) == ("stalled", 4000, None)
    assert "stalled 1.1 h 50/400" in as_text(told(results))
    (results / "models/m-1/progress.jsonl").unlink()
    progress(results, "m-1", 0, 40, ago=4600)
    progress(results, "m-1", 0, 50, ago=4000)
    assert only(results).training == "running", "of a model that writes every ten minutes"


@pytest.mark.parametrize(("ago", "state"), [(20, "running"), (2000, "stalled")])
def test_what_runs_on_another_machine_is_judged_by_its_lines(results, ago, state):
    progress(results, "m-1", 0, 50, ago=ago)
    held_by(results, "m-1", 1, host="elsewhere")
    assert only(results).training == state


def test_training_whose_process_has_ended_has_failed(results, dead):
    progress(results, "m-1", 0, 50, ago=3)
    held_by(results, "m-1", dead)
    log(results, "train", "m-1-0", "block-0: step 50/100\ninduction: training diverged: …\n\n=====\n")
    found = told(results)
    [problem] = found.problems
    assert (found.models[0].training, found.models[0].stages["train"].failed) == ("failed", 1)
    assert (problem.job, problem.says) == ("train m-1, block 0", "induction: training diverged: …")
    assert f"failed: {problem.job}: {problem.says}\n    {problem.log}" in as_text(found)
    log(results, "train", "m-1-0", "block-0: stopped at step 50; run again to go on\n")
    assert only(results).training == "stopped"
    log(results, "train", "m-1-0", "")
    assert told(results).problems[0].says == "nothing: it was killed"


def test_half_a_line_and_damage_are_passed_over(results):
    progress(results, "m-1", 0, 50, ago=20, after='{"block": "block-0", "step": 60, "la')
    assert only(results).progress["step"] == 50
    (results / "models/m-1/progress.jsonl").write_bytes(b'\xff\x00{]\n[1]\n7\n{"step": 3}\n')
    touch(results / "models/m-1/.lock", '{"host": ')
    assert only(results).progress is None
    assert only(results).training == "pending"
    progress(results, "m-1", 0, 60, ago=20)
    assert only(results).progress["step"] == 60


LINE = {"block": "block-0", "step": 50, "last": 300, "tokens": 5, "loss": 3.0, "tokens_per_second": 9.0, "time": NOW}
LOOK = {"step": 50, "tokens": 5, "prefix_matching": 0.5, "prefix_matching_layer": 1, "prefix_matching_head": 2}
LOOK |= {"icl": -0.1, "icl_se": 0.01}
ODD_LINES = [
    *({**LINE, name: odd} for name in LINE if name != "last" for odd in (None, [], {}, True)),
    *({**LINE, name: "7"} for name in LINE if name not in ("last", "block")),
    *({**LINE, name: odd} for name in ("step", "tokens") for odd in (-1, 1.5, 10**30)),
    *({**LINE, name: odd} for name in ("loss", "time", "tokens_per_second") for odd in (float("nan"), float("inf"))),
]
ODD_LOOKS = [
    *([], 7, "seen", {}, {"step": 50}, {"step": 50, "tokens": 5}),
    *({**LOOK, name: odd} for name in LOOK for odd in (None, "x", [], float("nan"), 10**30)),
    *({key: value for key, value in LOOK.items() if key != name} for name in LOOK),
    {**LOOK, "phase_change": 3},
    {**LOOK, "since_tokens": "many"},
]


def damaged_texts():
    yield from (json.dumps(line) for line in ODD_LINES)
    yield "[" * 20_000
    yield '{"step": ' + "9" * 5000 + "}"
    yield json.dumps(LINE)[:-10]
    yield "\x00\x00\x00"


@pytest.mark.parametrize("line", damaged_texts(), ids=range(len(list(damaged_texts()))))
def test_a_line_that_training_does_not_write_is_passed_over(line, results):
    progress(results, "m-1", 0, 40, ago=20, after=line + "\n")
    found = told(results)
    assert found.models[0].progress["step"] == 40
    assert "m-1" in as_text(found)
    reporter = Reporter(results / "models/m-1/block-1.json", 50, 100)
    assert reporter._looks == []


class Reads:
    """A watch that reads what `induction.measure.live` reads of a look."""

    every = 10

    def told(self, look):
        return f"{look['prefix_matching']:.2f} {look['icl']:.2f} {look['icl_se']:.2f} {look['prefix_matching_layer']}"

    def phase_change(self, looks):
        assert all(look["prefix_matching"] + look["icl"] < 9 for look in looks)
        return "not yet", None


@pytest.mark.parametrize("look", ODD_LOOKS, ids=range(len(ODD_LOOKS)))
def test_an_odd_look_is_passed_over_and_its_line_is_not(look, results):
    progress(results, "m-1", 0, 30, ago=30, look={**LOOK, "step": 30})
    progress(results, "m-1", 0, 40, ago=20, look=look)
    found = told(results)
    assert found.models[0].progress["step"] == 40
    assert "m-1" in as_text(found)
    with Reporter(results / "models/m-1/block-0.json", 50, 100, watch=Reads()) as reporter:
        reporter.show(100, 10, 2.0, 5.0, {**LOOK, "icl": -0.2})
    assert reporter._looks[0]["step"] == 30


@pytest.mark.parametrize("pid", [0, -1, 10**30, True, "7", None, [1], 1.5])
@pytest.mark.parametrize("job", [None, [1], {"a": 1}, "1; reboot", 10**40])
def test_an_odd_lock_names_nobody(pid, job, results):
    progress(results, "m-1", 0, 50, ago=20)
    held_by(results, "m-1", pid, slurm_job=job)
    assert only(results).training == "running", "by its line: nobody knows whether its process runs"
    assert ask_slurm(results, ["m-1"]) == Slurm() or ask_slurm(results, ["m-1"]).ended == {}


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "\x00", '{"host": {}, "pid": {}}', "7"])
def test_a_lock_that_is_no_json_names_nobody(text, results):
    progress(results, "m-1", 0, 50, ago=20)
    touch(results / "models/m-1/.lock", text)
    assert only(results).training == "running"


def test_progress_that_cannot_be_written_or_read_stops_no_training(results, capsys):
    (results / "models/m-1/progress.jsonl").mkdir(parents=True)
    with Reporter(results / "models/m-1/block-1.json", 50, 100) as reporter:
        reporter.show(100, 10, 2.0, 5.0, None)
        reporter.show(100, 10, 2.0, 5.0, None)
    assert capsys.readouterr().err.count("progress.jsonl: cannot be written (Is a directory); training continues") == 1


def test_lines_are_those_that_training_writes(results):
    (results / "models/m-1").mkdir(parents=True)
    with Reporter(results / "models/m-1/block-0.json", 0, 100) as reporter:
        reporter.show(100, 204_800, 2.5, 1000.0, None)
    [model] = status(study_of(1), results).models
    assert (model.training, model.progress["tokens"], model.progress["loss"]) == ("running", 204_800, 2.5)


def test_a_measurement_fails_by_what_its_log_says(results):
    trained(results, "m-1", 0, 1, 2)
    measured(results, "losses", "m-1", 2)
    log(results, "losses", "m-1-0", "induction: results/models/m-1/block-0.json: names no snapshot\n")
    log(results, "losses", "m-1-1", "")
    touch(results.parent / ".snakemake/locks/0.output.lock")
    found = told(results)
    losses = found.models[0].stages["losses"]
    assert (losses.done, losses.running, losses.failed) == (1, 1, 1)
    assert [problem.job for problem in found.problems] == ["losses m-1, block 0"]
    (results.parent / ".snakemake/locks/0.output.lock").unlink()
    assert [problem.says for problem in told(results).problems][1:] == ["nothing: it was killed"], "no Snakemake runs"
    log(results, "corpus", "packages", "reading numpy: 10%\rreading numpy: 20%\nTraceback\n  …\nOSError: no space\n")
    log(results, "figures", "pca", "induction: no table\n")
    found = told(results)
    assert (found.corpora, found.figures) == ({"packages": "failed"}, (0, 1))
    assert [problem.job for problem in found.problems[2:]] == ["corpus packages", "figures pca"]


def job(number, state, comment, folder="", reason="None"):
    return SlurmJob(number, state, comment, folder, reason)


def test_slurm_says_what_waits_and_runs(results):
    trained(results, "m-1", 0)
    trained(results, "m-2", 0)
    here = str(results.parent.resolve())
    jobs = (
        job("7", "PENDING", TRAIN.format(1, 1), here, "Resources"),
        job("8", "RUNNING", LOSSES.format(1, 0), here),
        job("9", "RUNNING", TRAIN.format(2, 1), here),
        job("10", "RUNNING", LOSSES.format(2, 0), "/another/study"),
    )
    found = told(results, Slurm(jobs, known=True), study_of(1, 2))
    assert [model.training for model in found.models] == ["queued", "running"]
    assert [model.stages["losses"].running for model in found.models] == [1, 0]
    text = as_text(found)
    assert "7 PENDING (Resources) and 1 more" in text
    assert "9 RUNNING" in text


def test_a_job_that_slurm_does_not_know_any_more_has_ended(results):
    progress(results, "m-1", 0, 50, ago=20)
    log(results, "train", "m-1-0", "block-0: step 50/100\n")
    held_by(results, "m-1", 1, host="node7", slurm_job="41")
    assert only(results).training == "running", "without SLURM, its lines count"
    under_way = job("41", "RUNNING", "rule_train")  # of an array: not named by its comment
    assert only(results, Slurm((under_way,), known=True)).training == "running"
    found = told(results, Slurm((), {"41": "TIMEOUT"}, known=True))
    assert found.models[0].training == "failed"
    assert "failed: train m-1, block 0 (SLURM: TIMEOUT): block-0: step 50/100" in as_text(found)


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Commands in place of squeue and sacct, which print what SLURM 22.05 printed of a study; no cluster runs here."""
    folder = tmp_path / "bin"
    monkeypatch.setenv("PATH", str(folder))

    def plant(name, prints, status=0):
        touch(folder / name, f"#!/bin/sh\n/bin/cat << 'END'\n{prints}\nEND\nexit {status}\n")
        (folder / name).chmod(0o755)

    return plant


def test_slurms_own_words_are_read(results, commands):
    assert ask_slurm(results, ["m-1"]) == Slurm()
    held_by(results, "m-1", 1, host="node7", slurm_job="41")
    held_by(results, "m-2", 1, host="node7", slurm_job="43")
    commands(
        "squeue", "43|RUNNING|/home/me/study|None|rule_train_wildcards_m-2_0\n44|PENDING|/home/me/study|Priority|(null)"
    )
    commands("sacct", "41|CANCELLED by 0")
    found = ask_slurm(results, ["m-1", "m-2"])
    assert found == Slurm(
        (
            job("43", "RUNNING", "rule_train_wildcards_m-2_0", "/home/me/study"),
            job("44", "PENDING", "(null)", "/home/me/study", "Priority"),
        ),
        {"41": "CANCELLED by 0"},
        known=True,
    )
    commands("squeue", "slurm_load_jobs error: Unable to contact slurm controller", status=1)
    assert ask_slurm(results, ["m-1"]) == Slurm()


def test_the_papers_34_models_fit_on_a_screen(results):
    study = study_of(*range(34))
    look = {"step": 200, "tokens": 4_096_000, "prefix_matching": 0.2, "prefix_matching_layer": 39}
    look |= {
        "prefix_matching_head": 15,
        "icl": -0.1,
        "icl_se": 0.05,
        "phase_change": "beginning",
        "since_tokens": 3.01e9,
    }
    for seed in range(34):
        progress(results, f"m-{seed}", 0, 50, ago=20, look=look)
        log(results, "losses", f"m-{seed}-0", "induction: no")
    lines = as_text(told(results, study=study)).splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines[:35])) <= 150
    assert "and 26 more; --json tells all" in lines


def test_json_tells_all(results, capsys):
    progress(results, "m-1", 0, 50, ago=20)
    content = json.loads(as_json(told(results)))
    assert content["study"] == "planted"
    assert content["models"][0]["stages"]["train"] == {"done": 0, "of": 3, "running": 1, "failed": 0}
    assert content["models"][0]["progress"]["loss"] == 3.25
    show(study_of(1), results, in_json=True)
    assert json.loads(capsys.readouterr().out)["models"][0]["name"] == "m-1"


@pytest.mark.parametrize("every", [-5.0, 0.0, float("nan"), float("inf")])
def test_a_time_that_nobody_can_wait_is_told(results, every):
    with pytest.raises(InductionError, match=rf"--watch: {every:g}: no number of seconds to wait\. Permitted: above 0"):
        show(study_of(1), results, every=every)


def test_last_words(tmp_path):
    path = tmp_path / "log"
    assert last_words(path) == ""
    path.write_bytes(b"x" * 200_000 + b"\nfirst\n\x1b[31mValueError: bad\x1b[0m\n" + b"=" * 80 + b"\n\n")
    assert last_words(path) == "ValueError: bad"
    path.write_text("induction: the disk is full\nsrun: error: n1: task 0: Exited with exit code 2\n")
    assert last_words(path) == "induction: the disk is full"


def test_numbers_for_people():
    numbers = (950, 1024, 999_400, 999_999, 2_560_000, 10_485_760_000)
    assert [count(number) for number in numbers] == ["950", "1.02k", "999k", "1M", "2.56M", "10.5B"]
    assert [duration(seconds) for seconds in (45, 90, 400, 5400, 200_000)] == [
        "45 s",
        "2 min",
        "7 min",
        "1.5 h",
        "2.3 d",
    ]


def test_what_was_made_from_other_settings_is_stale_and_not_done(results):
    study = study_of(1)
    identity = Jobs(study, results).identity(Node("losses", "m-1", 0))
    rows = {"step": 0, "tokens": 0, "example": np.arange(2), "loss": np.ones((2, 3))}
    for block, carried in ((0, identity), (1, "0123456789abcdef"), (2, "fedcba9876543210")):
        with running_as(carried):
            table_of_losses.LOSSES.write(results / f"tables/losses/model=m-1/block-{block}.parquet", rows)
        log(results, "losses", f"m-1-{block}", "")
    found = told(results, study=study)
    assert found.models[0].stages["losses"].done == 1
    assert found.models[0].stages["losses"].failed == 0, "its log is that of the run that made it"
    [problem] = found.problems
    assert (problem.state, problem.job) == ("stale", "2 results, this one first")
    assert problem.log.endswith("losses/model=m-1/block-1.parquet")
    assert "made from other settings than the study's now" in as_text(found)
