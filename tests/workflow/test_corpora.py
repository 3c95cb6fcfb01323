"""Corpora under the real Snakemake: what makes one again, and that a mistake costs nothing that was built."""

import json
import os
import time

import pytest
from project import CORPORA, Project

MANIFEST = "results/corpora/words/manifest.json"
EVALUATION = "results/corpora/words/evaluation.safetensors"
WORDS = CORPORA["words"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with one corpus, of which one text is from the future, and its evaluation set."""
    project = Project(tmp_path_factory.mktemp("corpora"))
    tomorrow = time.time() + 86_400
    os.utime(project.folder / "text/7.txt", (tomorrow, tomorrow))
    done = project.run("--cores", "1", MANIFEST, EVALUATION)
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def planned(project):
    return project.planned(MANIFEST, EVALUATION)


def shards(project):
    """Bytes and times of all that a build writes but the manifest."""
    folder = project.folder / "results/corpora/words"
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("*.npy")}


def test_times_of_modification_make_nothing_again(project):
    assert planned(project) == set()
    for days in (-3, 2):
        then = time.time() + days * 86_400
        os.utime(project.folder / "text/3.txt", (then, then))
        assert planned(project) == set()


def test_a_change_that_keeps_size_and_time_makes_the_corpus_again(project):
    path = project.folder / "text/5.txt"
    content, status = path.read_bytes(), path.stat()
    try:
        path.write_bytes(content[::-1])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert path.stat().st_mtime_ns == status.st_mtime_ns
        assert planned(project) == {"corpus words", "evaluation words"}
    finally:
        path.write_bytes(content)
    assert planned(project) == set()


def test_a_text_that_comes_or_goes_makes_the_corpus_again(project):
    path = project.folder / "text/new.txt"
    path.write_text("a new one")
    assert planned(project) == {"corpus words", "evaluation words"}
    path.unlink()
    assert planned(project) == set()


def test_text_that_is_deleted_makes_nothing_again(project):
    folder = project.folder / "text"
    folder.rename(project.folder / "elsewhere")
    assert planned(project) == set()
    (project.folder / "elsewhere").rename(folder)


MISTAKES = {
    "no such package": (
        {"sources": [*WORDS["sources"], {"package": "no-such-package"}]},
        "corpora.words.sources.1: package no-such-package is not installed",
    ),
    "too little text": ({"vocab_size": 60_000}, "corpora.words: vocab_size: the training documents give"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_nothing_that_was_built(project, mistake):
    fields, words = MISTAKES[mistake]
    before, manifest = shards(project), (project.folder / MANIFEST).read_bytes()
    try:
        project.configure(corpora={"words": {**WORDS, **fields}})
        failed = project.run("--cores", "1", MANIFEST)
        assert failed.returncode != 0
        assert words in (project.folder / "results/logs/corpus/words.log").read_text()
        assert shards(project) == before
        assert planned(project) == {"corpus words", "evaluation words"}, "what failed is not forgotten"
    finally:
        project.configure()
    done = project.run("--cores", "1", MANIFEST)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kept as it is" in (project.folder / "results/logs/corpus/words.log").read_text()
    assert shards(project) == before
    assert (project.folder / MANIFEST).read_bytes() == manifest
    assert planned(project) == set(), "what was made of the corpus is current"


def test_an_unreadable_text_is_named_when_planning(project):
    (project.folder / "text/gone.txt").symlink_to("nowhere")
    try:
        said = project.run("-n", MANIFEST)
    finally:
        (project.folder / "text/gone.txt").unlink()
    assert said.returncode != 0
    told = said.stdout + said.stderr
    assert "config/models.yaml: corpora.words.sources.0: text/gone.txt" in told
    assert "Traceback" not in told


def test_dropping_held_out_documents_trains_nothing_again(tmp_path):
    project = Project(tmp_path)
    for number in range(30):  # near duplicates, some of which fall to the other side
        text = (project.folder / f"text/{number}.txt").read_text()
        project.write(f"text/near-{number}.txt", f"{text} and more")
    block = "results/models/attn-1l-s0/block-0.json"
    done = project.run("--cores", "1", block)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = project.folder / "results/models/attn-1l-s0"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    held_out, manifest = (json.loads((project.folder / path).read_text()) for path in (MANIFEST, block))
    project.configure(corpora={"words": {**WORDS, "max_overlap": 0.5}})
    assert project.planned(block) == {"corpus words", "train attn-1l-s0 0"}, "its identity is another"
    done = project.run("--cores", "1", block)
    assert done.returncode == 0, done.stdout + done.stderr
    again = json.loads((project.folder / MANIFEST).read_text())
    assert again["n_held_out_documents"] < held_out["n_held_out_documents"]
    assert len(before) > 4
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == before
    trained = json.loads((project.folder / block).read_text())
    for name in ("identity", "corpus", "snapshots"):
        assert trained[name] == manifest[name]
