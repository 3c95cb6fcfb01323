"""The workflow on a real SLURM cluster of three nodes on this machine (lab.sh), trained on 2 nodes x 2 DeepSpeed ranks.

What a site has that is missing here: GPUs (null devices stand for them), several machines, a shared file system.
"""

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import polars as pl
import pytest

from cluster.lab_study import LAB, LabStudy, job_of, lab, signal_ranks
from induction.tables.schemas import TABLES

pytestmark = pytest.mark.cluster
TRAINING = "results/models/long-2l-s0/block-0.json"
WHOLE = "results/tables/losses/model=long-2l-s0/block-0.parquet"
COMMAND = ("snakemake", "--profile", "slurm", TRAINING, WHOLE)


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory):
    folder = Path("/run/induction-lab")  # short: sockets lie in it
    subprocess.run([LAB, "up", folder], check=True)
    yield
    subprocess.run([LAB, "down", folder], check=True)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The undisturbed run, by the README's command."""
    study = LabStudy(tmp_path_factory.mktemp("whole"))
    study.run("snakemake", "--profile", "slurm", "results/figures/phase_change.pdf")
    study.run(*COMMAND)
    return study


@pytest.fixture
def disturbed(whole, tmp_path):
    """The same study with its corpus and nothing trained."""

    study = LabStudy(tmp_path / "disturbed")
    shutil.rmtree(study.folder / "text")
    for made in ("text", "results/corpora", ".snakemake/metadata"):
        shutil.copytree(whole.folder / made, study.folder / made)
    return study


def state_of(job):
    asked = ["squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T"]
    return subprocess.check_output(asked, text=True).strip()


def same_tables(study, whole):
    """See that a study ended as the undisturbed one did: every snapshot byte for byte, every row of its tables."""
    assert study.trained() == whole.trained()
    assert list(study.trained()) == list(range(0, study.long_steps + 1, 40))
    for table, key in (("training", ["step"]), ("losses", ["step", "example"])):
        ours, theirs = (
            pl.read_parquet(each.folder / f"results/tables/{table}/model=long-2l-s0/block-0.parquet").sort(key)
            for each in (study, whole)
        )
        columns = [column.name for column in TABLES[table].columns if column.name != "tokens_per_second"]
        assert ours.select(columns).equals(theirs.select(columns)), table
    rows = pl.read_parquet(study.folder / "results/tables/training/model=long-2l-s0/block-0.parquet")
    assert rows["step"].to_list() == list(range(study.long_steps)), "every step once"


def nothing_twice(before, study):
    """See that no snapshot that was there has been written again."""
    after = study.snapshots()
    assert {name: after[name] for name in before} == before


def test_the_figure_is_made_word_for_word(whole):
    assert (whole.folder / "results/figures/phase_change.pdf").stat().st_size > 1000
    runs = ",".join(re.findall(r"SLURM run ID: (\S+)", whole.said()))
    asked = ["sacct", "--noheader", "--parsable2", "--allocations", f"--name={runs}"]
    rows = subprocess.check_output([*asked, "--format=State,AllocNodes,AllocTRES"], text=True).splitlines()
    jobs = [row.split("|") for row in rows]
    assert {state for state, _, _ in jobs} == {"COMPLETED"}
    gpus = [(int(nodes), gpu[1]) for _, nodes, taken in jobs if (gpu := re.search(r"gres/gpu=(\d+)", taken))]
    assert gpus.count((2, "4")) == 3, "two blocks and the long one train on 2 nodes x 2 ranks"
    assert gpus.count((1, "1")) == 5, "losses and heads of two blocks, losses of the long one"
    assert len(gpus) == 8 < len(jobs), "all else takes no GPU"


def test_a_second_run_has_nothing_to_do(whole):
    said = whole.run("snakemake", "--profile", "slurm", "results/figures/phase_change.pdf", TRAINING, WHOLE)
    assert said.rstrip().splitlines()[-1].startswith(("Nothing to be done", "Complete log", "Elapsed", "Assuming")), (
        said
    )
    assert "Nothing to be done" in said.split("Building DAG of jobs")[-1]


def test_a_node_is_lost_while_it_trains(whole, disturbed):
    study = disturbed
    process = study.start(*COMMAND)
    before = study.await_snapshots(3, process)
    _, nodes = job_of("train")
    lab("lose", nodes[1])
    try:
        assert process.wait(300) == 0, study.said()
    finally:
        lab("back", nodes[1])
    nothing_twice(before, study)
    same_tables(study, whole)


def test_a_rank_is_killed_and_the_controller_restarted(whole, disturbed):
    study = disturbed
    process = study.start(*COMMAND)
    before = study.await_snapshots(3, process)
    signal_ranks(job_of("train")[0], signal.SIGKILL, ranks=[3])
    later = study.await_snapshots(len(before) + 2, process)
    lab("restart-controller", "5")
    assert process.wait(300) == 0, study.said()
    nothing_twice(later, study)
    same_tables(study, whole)


def test_a_job_reaches_its_time_limit(whole, disturbed):
    """The ranks are held until SLURM's own signal comes, so that a short training outlasts a short limit."""
    study = disturbed
    process = study.start(*COMMAND)
    before = study.await_snapshots(3, process)
    job, _ = job_of("train")
    signal_ranks(job, signal.SIGSTOP, ranks=range(4))
    subprocess.run(["scontrol", "update", f"JobId={job}", "TimeLimit=1"], check=True)
    deadline = time.monotonic() + 120
    while state_of(job) == "RUNNING":
        assert time.monotonic() < deadline, study.said()
        time.sleep(0.2)
    subprocess.run(["scontrol", "update", f"JobId={job}", "TimeLimit=10"], check=True)
    assert list(study.model.glob("state-*.safetensors")), "saved in time"
    assert process.wait(300) == 0, study.said()
    assert state_of(job) == "COMPLETED", "queued again under its number: Snakemake tried nothing again"
    nothing_twice(before, study)
    same_tables(study, whole)


def test_snakemake_is_killed_and_started_again(whole, disturbed):
    study = disturbed
    first = study.start(*COMMAND)
    before = study.await_snapshots(2, first)
    first.kill()
    first.wait()
    assert job_of("train"), "the job outlives the Snakemake that started it"
    study.run("snakemake", "--profile", "slurm", "--unlock")
    study.run(*COMMAND)
    nothing_twice(before, study)
    same_tables(study, whole)
    assert not re.search(r"Traceback", study.said())
