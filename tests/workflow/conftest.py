"""The tiny study, run once for all tests of the workflow."""

import shutil

import pytest
from project import Project


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"))
    plan = project.planned("results/figures/phase_change.pdf")
    assert {job.split()[0] for job in plan} == {
        "corpus", "evaluation", "probes", "train", "losses", "heads", "curves", "phases", "phase_change_figure",
    }, "a figure needs no more than it shows"  # fmt: skip
    assert not any("smeared" in job for job in plan)
    done = project.run("--cores", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    return project


@pytest.fixture
def restored(project):
    """Undo what a test did to code and configuration."""
    kept = project.folder.parent / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(project.folder / "src", kept)
    yield project
    shutil.rmtree(project.folder / "src")
    shutil.copytree(kept, project.folder / "src")
    project.configure()
    assert project.planned() == set()
