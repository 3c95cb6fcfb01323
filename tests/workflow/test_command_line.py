"""What people type, and where they type it: names that look like numbers, odd folders, a machine without SLURM."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def checkout(folder):
    """Make a folder that holds all that a checkout does."""
    folder.mkdir()
    for name in ("Snakefile", "workflow", "profiles", "slurm", "envs"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "config", folder / "config")
    return folder


def run(folder, *arguments, path=None):
    environment = {**os.environ, "PATH": path or f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "snakemake", *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(command, cwd=folder, env=environment, text=True, check=False, **streams)


@pytest.fixture
def without_slurm(tmp_path):
    """Return a PATH that holds what Snakemake needs, and nothing of SLURM."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "sh", "env", "which"):
        (tools / name).symlink_to(shutil.which(name))
    return f"{BIN}{os.pathsep}{tools}"


def test_a_study_whose_name_looks_like_a_number_is_built(tmp_path):
    here = checkout(tmp_path / "here")
    path = here / "config/config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["studies"] = {"demo": config["studies"]["demo"], "007": config["studies"]["paper"]}
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    target = "results/models/small-attn-1l-s0/block-0.json"  # of the study 007 alone
    done = run(here, "-n", "--config", "study=007", "--", target)
    assert done.returncode == 0, done.stdout
    assert "model=small-attn-1l-s0" in done.stdout


def test_a_number_that_is_no_study_is_never_the_default_study(tmp_path):
    done = run(checkout(tmp_path / "here"), "-n", "--config", "study=0")
    assert done.returncode != 0
    assert "no study is called 0. Permitted: demo, demo-full, paper." in done.stdout
    assert "Traceback" not in done.stdout


def test_a_checkout_in_a_folder_with_braces_is_refused_in_a_sentence(tmp_path):
    done = run(checkout(tmp_path / "a{b}c"), "-n")
    assert done.returncode != 0
    assert "Move the checkout to a folder without { and }." in done.stdout
    assert "Traceback" not in done.stdout


def test_without_slurm_a_line_says_so_before_anything_else(tmp_path, without_slurm):
    here = checkout(tmp_path / "here")
    done = run(here, "--profile", "slurm", path=without_slurm)
    assert done.returncode != 0
    assert "no SLURM on this machine: sbatch and squeue not found. Run `snakemake --profile slurm` on" in done.stdout
    assert "Building DAG" not in done.stdout
    assert not (here / "results").exists()


def test_the_profile_works_in_another_folder(tmp_path, without_slurm):
    """Nothing is submitted, so that no SLURM is needed."""
    here = checkout(tmp_path / "here")
    folder = tmp_path / "other"
    shutil.copytree(here / "config", folder / "config")
    target = "results/models/small-attn-1l-s0/block-0.json"
    done = run(here, "--profile", "slurm", "--directory", str(folder), "-n", "--", target, path=without_slurm)
    assert done.returncode == 0, done.stdout
    assert "slurm_partition=gpu" in done.stdout
