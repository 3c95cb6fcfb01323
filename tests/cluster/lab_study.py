"""A tiny study in a folder of its own, run on the test cluster by the commands that the README tells."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml

from tiny_study import MEASURED

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
LAB = Path(__file__).parent / "lab.sh"

SITE = {
    "name": "the lab",
    "slurm": {"gpu_partition": "gpu", "cpu_partition": "cpu", "account": "lab", "gres": "gpu:toy"},
    # GPUs are null devices: ranks compute on CPUs, two a node.
    "node": {"accelerator": "cpu", "ranks": 2, "cpus": 8, "memory_gb": 20, "peak_tflops": 0.05},
    # So short a training that every model takes all ranks, sharded.
    "jobs": {
        "nodes": 2, "minutes": 10, "grace_seconds": 50, "training_days": 1e-9, "least_zero_stage": 2,
        "cpu_cores": 2, "cpu_memory_gb": 2,
    },
}  # fmt: skip
SMALL = {
    "corpus": "words", "d_model": 32, "n_heads": 2, "n_ctx": 128, "batch_size": 4, "optimizer": "adamw",
    "n_steps": 30, "snapshots": [{"every": 10}], "block_snapshots": 3,
}  # fmt: skip
STUDY = {
    **MEASURED,
    "families": ["small", "long"],
    "watch": {"every": 10, "n_examples": 4, "n_sequences": 2},
    "prompts": {"n_prompts": 4},
    "bootstrap": {"n_resamples": 40},
    "figures": {"phase_change": {"families": ["small"]}},
}


class LabStudy:
    """The workflow with a study called `paper`, so that the README's commands are run word for word.

    Args:
        folder: an empty folder.
        long_steps: steps of the model `long-2l-s0`, which is there to be disturbed.
        site: what else the site file says of jobs.
    """

    def __init__(self, folder: Path, long_steps: int = 400, **jobs: int) -> None:
        self.folder = folder
        self.long_steps = long_steps
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("Snakefile", "workflow", "profiles", "envs", "slurm"):
            source = ROOT / name
            if source.is_symlink():
                (folder / name).symlink_to(source.readlink())
            elif source.is_dir():
                shutil.copytree(source, folder / name)
            else:
                shutil.copy(source, folder / name)
        self._write("profiles/slurm/site.yaml", {**SITE, "jobs": {**SITE["jobs"], **jobs}})
        profile = folder / "profiles/slurm/config.yaml"
        # Nothing but how often SLURM is asked.
        told = yaml.safe_load(profile.read_text(encoding="utf-8"))
        self._write("profiles/slurm/config.yaml", {**told, "slurm-init-seconds-before-status-checks": 1})
        long = {**SMALL, "n_steps": long_steps, "snapshots": [{"every": 40}], "block_snapshots": 30}
        families = {
            "small": {"label": "small", "base": SMALL, "sweep": {"n_layers": [2], "seed": [0]}},
            "long": {"label": "long", "base": long, "sweep": {"n_layers": [2], "seed": [0]}},
        }
        corpora = {"words": {"vocab_size": 300, "held_out": 0.2, "sources": [{"files": "text/*.txt"}]}}
        self._write("config/models.yaml", {"corpora": corpora, "families": families})
        self._write("config/config.yaml", {"study": "paper", "studies": {"paper": STUDY}})
        generator = random.Random(0)
        words = ["".join(generator.choices("abcdefghij", k=generator.randint(2, 6))) for _ in range(300)]
        (folder / "text").mkdir()
        for index in range(400):
            text = " ".join(generator.choices(words, k=400))
            (folder / f"text/{index}.txt").write_text(text, encoding="utf-8")

    def _write(self, path, content):
        target = self.folder / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")

    def start(self, *arguments):
        """Start a command as a user does; its output goes to a file."""
        environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        output = (self.folder / "output.txt").open("a", encoding="utf-8")
        return subprocess.Popen(arguments, cwd=self.folder, env=environment, stdout=output, stderr=output)

    def run(self, *arguments, seconds=400):
        """Run a command to its end, and return what it said."""
        process = self.start(*arguments)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{' '.join(arguments)} takes longer than {seconds} s:\n{self.said()}") from None
        assert code == 0, self.said()
        return self.said()

    def said(self):
        """Return what all commands have said so far."""
        return (self.folder / "output.txt").read_text(encoding="utf-8")

    # --- the model that is disturbed --------------------------------------------------------------------------------

    @property
    def model(self):
        return self.folder / "results/models/long-2l-s0"

    def snapshots(self):
        """Return the files of the snapshots that are there, by name, with when they were written."""
        return {path.name: path.stat().st_mtime_ns for path in (self.model / "snapshots").glob("step-*.safetensors")}

    def await_snapshots(self, n, process, seconds=200):
        """Wait until so many snapshots are done with, states included: the next one is there. Return them."""
        deadline = time.monotonic() + seconds
        while len(self.snapshots()) <= n:
            assert process.poll() is None, self.said()
            assert time.monotonic() < deadline, f"no {n} snapshots after {seconds} s:\n{self.said()}"
            time.sleep(0.05)
        return dict(sorted(self.snapshots().items())[:n])

    def trained(self):
        """Return hashes of all snapshots, as the manifests name them, by step."""
        manifests = sorted(self.model.glob("block-*.json"))
        entries = [entry for path in manifests for entry in json.loads(path.read_text())["snapshots"]]
        return {entry["step"]: entry["sha256"] for entry in entries}


def job_of(rule, states="RUNNING"):
    """Return number and nodes of the one job of a rule that the cluster has in some state."""
    asked = ["squeue", "--noheader", f"--states={states}", "--format=%i|%N|%k"]
    rows = [line.split("|") for line in subprocess.check_output(asked, text=True).splitlines()]
    found = [(job, nodes) for job, nodes, comment in rows if comment.startswith(f"rule_{rule}_")]
    assert len(found) == 1, rows
    names = subprocess.check_output(["scontrol", "show", "hostnames", found[0][1]], text=True).split()
    return found[0][0], names


def signal_ranks(job, number, ranks):
    """Send a signal to some ranks of a job."""
    reached = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            told = dict(line.partition("=")[::2] for line in path.read_text(errors="replace").split("\0"))
            words = (path.parent / "cmdline").read_text().split("\0")
        except OSError:
            continue
        rank = int(told.get("SLURM_PROCID", -1))
        if told.get("SLURM_JOB_ID") == job and rank in ranks and "train" in words and "srun" not in words:
            os.kill(int(path.parent.name), number)
            reached.add(rank)
    assert reached == set(ranks), f"job {job} has ranks {reached}"


def lab(*arguments):
    """Call `lab.sh`."""
    subprocess.run([str(LAB), *arguments], check=True)
