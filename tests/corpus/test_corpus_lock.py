"""One job at a time builds a corpus: another waits, and disturbs nothing that it finds."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from corpus.small_corpora import build, random_texts, write_texts
from induction.errors import InductionError
from induction.files import FolderLock

# Begin and end are written where they happen, so that the test can tell one after the other from both at once.
BUILDS = """
import json, os, sys
from pathlib import Path
from corpus.small_corpora import build
from induction.corpus import build as stage

out, source = Path(sys.argv[1]), json.loads(sys.argv[2])
build_alone = stage._build
def noted(*arguments):
    for what in ("begins", "ends"):
        with (out.parent / "noted").open("a") as file:
            print(os.getpid(), what, file=file)
        if what == "begins":
            build_alone(*arguments)
stage._build = noted
build(out, source)
"""
HOLDS = """
import sys
from pathlib import Path
from induction.files import FolderLock

lock = FolderLock(Path(sys.argv[1]))
print(lock.taken(), flush=True)
sys.stdin.read()
"""


def started(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_jobs_build_one_corpus_one_after_the_other(tmp_path):
    source, out = write_texts(tmp_path / "texts", random_texts(3, 40)), tmp_path / "corpus"
    build(tmp_path / "undisturbed", source)
    lock = FolderLock(out)
    assert lock.taken()
    (out / "manifest.json").write_text("an earlier one")
    (out / ".scratch").mkdir()
    jobs = [started(BUILDS, out, json.dumps(source)) for _ in range(2)]
    for job in jobs:
        line = job.stderr.readline()
        assert line.startswith("small: waiting for the job that builds it: ")
        assert json.loads(line[line.index("{") :])["pid"] == os.getpid()
    assert (out / "manifest.json").read_text() == "an earlier one"
    assert (out / ".scratch").is_dir()
    lock.release()
    said = [job.communicate()[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], said
    assert not any("waiting" in text for text in said)  # it is said once
    noted = [tuple(line.split()) for line in (tmp_path / "noted").read_text().splitlines()]
    assert [what for _, what in noted] == ["begins", "ends"] * 2
    assert noted[0][0] == noted[1][0] != noted[2][0] == noted[3][0]
    kept = sorted(path.name for path in (tmp_path / "undisturbed").iterdir())
    assert sorted(path.name for path in out.iterdir()) == kept
    for name in kept:
        assert (out / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    assert FolderLock(out).taken()


def test_a_failed_build_lets_the_next_one_in(tmp_path):
    out = tmp_path / "corpus"
    with pytest.raises(InductionError):
        build(out, {"files": str(tmp_path / "none/*.txt")})
    assert FolderLock(out).taken()


def test_a_lock_is_held_once_and_given_back(tmp_path):
    mine, other = FolderLock(tmp_path / "new"), FolderLock(tmp_path / "new")
    assert mine.owner() == ""
    assert mine.taken()
    assert mine.taken()
    assert not other.taken()
    other.release()
    assert not other.taken()
    assert json.loads(other.owner())["pid"] == os.getpid()
    mine.release()
    assert json.loads(other.owner())["pid"] == os.getpid()
    assert other.taken()
    other.release(forget=True)
    assert other.owner() == ""
    assert mine.taken()


def test_the_slurm_job_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    lock = FolderLock(tmp_path)
    assert lock.taken()
    assert json.loads(lock.owner())["slurm_job"] == "17"


def test_a_killed_holder_frees_the_lock(tmp_path):
    holder, lock = started(HOLDS, tmp_path), FolderLock(tmp_path)
    assert holder.stdout.readline() == "True\n"
    assert not lock.taken()
    assert json.loads(lock.owner())["pid"] == holder.pid
    holder.kill()
    holder.communicate()
    assert lock.taken()
    assert json.loads(lock.owner())["pid"] == os.getpid()


def test_a_forked_process_does_not_keep_a_lock_that_was_given_back(tmp_path):
    lock, other = FolderLock(tmp_path), FolderLock(tmp_path)
    assert lock.taken()
    child = os.fork()
    if not child:
        time.sleep(600)
        os._exit(0)
    try:
        lock.release()
        assert other.taken()
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_without_locks_a_warning_is_printed_and_the_job_goes_on(tmp_path, monkeypatch, capsys):
    def refused(*_):  # stands for a file system that this machine does not have: a network's, mounted without locks
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    lock = FolderLock(tmp_path)
    assert lock.taken()
    assert lock.taken()
    said = capsys.readouterr().err
    assert said.count("no locks on this file system (No locks available)") == 1
    lock.release()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InductionError, match=r"file/corpus/\.lock: cannot be opened to write"):
        FolderLock(tmp_path / "file" / "corpus").taken()


def test_a_folder_of_something_else_is_refused_and_left_as_it_is(tmp_path):
    source, out = write_texts(tmp_path / "texts", random_texts(3, 40)), tmp_path / "data"
    out.mkdir()
    (out / "train-00007.npy").write_text("mine")
    with pytest.raises(
        InductionError, match=r"data: this folder holds train-00007\.npy and is not .*nothing was removed"
    ):
        build(out, source)
    assert [path.name for path in out.iterdir()] == ["train-00007.npy"]
    assert (out / "train-00007.npy").read_text() == "mine"
    build(tmp_path / "corpus", source)
    (tmp_path / "corpus/train-00007.npy").write_text("of an earlier corpus")
    build(tmp_path / "corpus", write_texts(tmp_path / "others", random_texts(4, 40)))
    assert not (tmp_path / "corpus/train-00007.npy").exists()
