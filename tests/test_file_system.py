"""Faults of the file system are reported in a sentence with the file's name: rights, names, limits; and two writers.

Rights do not bind root; where the tests run as root, they take another user's rights for a moment.
"""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from corpus.small_corpora import random_texts, write_texts
from induction import cli
from induction.errors import InductionError
from induction.files import FolderLock, read_json, remove_abandoned, replacing, write_json
from induction.study.reading import read_yaml
from induction.tables.losses import LOSSES
from induction.tables.table import open_parquet
from test_integrity import CATALOGUE, READ, file_of, made, results  # noqa: F401 - fixtures

NOBODY = 65_534


@contextmanager
def without_rights():
    """Be a user who is not root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def no_more_files():
    """Let this process open no further file."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
    filled = [os.open(os.devnull, os.O_RDONLY) for _ in range(highest)]  # whatever is free below it
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(filled) + 1, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in filled:
            os.close(descriptor)


@pytest.fixture
def open_folder():
    """A folder that every user reaches, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def table(path):
    LOSSES.write(path, {"step": 0, "tokens": 0, "example": np.arange(3), "loss": np.ones((3, 4))})


def empty_table(path):
    with LOSSES.writer(path):
        pass


def locked(path):
    FolderLock(path.parent).taken()


WRITERS = {
    "table": table,
    "empty table": empty_table,
    "json": lambda path: write_json(path, [1]),
    "lock": locked,
}


def denied(folder):
    folder.mkdir(mode=0o555)
    return folder / "part.parquet"


def denied_above(folder):
    folder.mkdir(mode=0o555)
    return folder / "model=a/part.parquet"


def in_a_file(folder):
    folder.write_text("a file")
    return folder / "part.parquet"


def below_a_file(folder):
    folder.write_text("a file")
    return folder / "model=a/part.parquet"


def too_long(folder):
    folder.mkdir()
    folder.chmod(0o777)
    return folder / ("n" * 300) / "part.parquet"


def a_loop(folder):
    folder.symlink_to(folder)
    return folder / "part.parquet"


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (denied, "Permission denied. Give this user the right to write"),
        (denied_above, "Permission denied. Give this user the right to write"),
        (in_a_file, "(Not a directory|File exists). A part of this path is a file"),
        (below_a_file, "(Not a directory|File exists). A part of this path is a file"),
        (too_long, "File name too long. Most file systems permit 255 bytes"),
        (a_loop, "(Too many levels of symbolic links. Remove|File exists)"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_where_nothing_can_be_written_the_file_and_the_reason_are_named(write, make, words, open_folder):
    path = make(open_folder / "folder")
    with (
        without_rights(),
        pytest.raises(InductionError, match=rf"/folder/.*cannot be (written|opened to write): {words}"),
    ):
        write(path)


@pytest.mark.parametrize("write", [table, empty_table, WRITERS["json"]])
def test_a_folder_in_the_place_of_a_file_is_named_and_kept(write, tmp_path):
    (tmp_path / "model=a/part.parquet").mkdir(parents=True)
    with pytest.raises(
        InductionError, match=r"part\.parquet: cannot be written: Is a directory\. A file is needed here"
    ):
        write(tmp_path / "model=a/part.parquet")
    assert [path.name for path in (tmp_path / "model=a").iterdir()] == ["part.parquet"]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_too_many_open_files_are_reported_with_the_limit(write, tmp_path):
    with (
        no_more_files(),
        pytest.raises(InductionError, match=r"Too many open files\. The limit is \d+; raise it: ulimit"),
    ):
        write(tmp_path / "part.parquet")
    assert not [path for path in tmp_path.iterdir() if path.name != ".lock"]


def test_a_name_that_leaves_no_room_for_a_temporary_one_is_written(tmp_path):
    path = tmp_path / ("ä" * 120 + ".parquet")
    table(path)
    (tmp_path / f".{'x' * 200}.partial").write_text("of another file")
    table(path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_a_fault_while_writing_names_the_file_and_leaves_nothing(number, tmp_path, monkeypatch):
    def failing(descriptor):
        raise OSError(number, os.strerror(number))

    write_json(tmp_path / "kept.json", "before")
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(
        InductionError, match=r"kept\.json: (the disk is full|cannot be written: [A-Z][a-z/ ]+\. [A-Z])"
    ):
        write_json(tmp_path / "kept.json", "after")
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]
    assert read_json(tmp_path / "kept.json", "file") == "before"


@pytest.mark.parametrize("name", READ)
def test_a_file_that_may_not_be_read_is_not_called_missing_or_damaged(name, results, open_folder):  # noqa: F811
    moved = shutil.copytree(results, open_folder / "results")
    path = file_of(name, moved)
    path.chmod(0)
    with without_rights(), pytest.raises(InductionError) as told:
        CATALOGUE[name].read(path)
    said = str(told.value)
    assert f"{path}: this " in said
    assert "cannot be read: Permission denied. Give this user the right to read" in said
    assert not any(word in said for word in ("rm ", "Delete", "again", "--force", "does not exist", "missing"))


@pytest.mark.parametrize("name", [name for name in READ if name != "drawing"])
def test_a_folder_or_the_limit_of_open_files_is_not_called_damage(name, results):  # noqa: F811
    path, read = file_of(name, results), CATALOGUE[name].read
    read(path)  # imports what it imports
    with no_more_files(), pytest.raises(InductionError, match=r"cannot be read: Too many open files\. The limit is"):
        read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(
        InductionError, match=rf"{path.name}: this .* cannot be read: Is a directory\. A file is needed"
    ):
        read(path)


def test_a_configuration_that_may_not_be_read(open_folder):
    path = open_folder / "config.yaml"
    path.write_text("a: 1")
    path.chmod(0)
    with without_rights(), pytest.raises(InductionError, match=r"config\.yaml: .*cannot be read: Permission denied"):
        read_yaml(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(InductionError, match=r"config\.yaml: .*cannot be read: Is a directory"):
        read_yaml(path)


def test_a_fault_that_no_stage_expects_is_one_sentence(monkeypatch, capsys):
    def failing(_):
        Path("/etc/passwd/nothing").read_bytes()

    monkeypatch.setitem(cli.STAGES, "costs", cli.STAGES["costs"]._replace(run=failing))
    with pytest.raises(SystemExit) as ended:
        cli.main(["costs"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("induction: /etc/passwd/nothing: Not a directory. ")


def test_a_corpus_is_built_where_few_files_may_be_open(tmp_path):
    """64, as `ulimit -n 64` permits: a corpus has twice as many buckets."""
    source = write_texts(tmp_path / "texts", random_texts(0, 80))
    config = json.dumps({"vocab_size": 400, "held_out": 0.3, "sources": [source]})
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); "
        "from induction.cli import main; main(sys.argv[1:])"
    )
    arguments = ["corpus", "words", "--config", config, "--out", tmp_path / "out/manifest.json"]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out/train-00000.npy").is_file()


# --- two writers --------------------------------------------------------------------------------------------------------


def test_two_writers_of_one_table_both_finish(tmp_path):
    """The second begins while the first writes; the last to finish is the one that counts."""
    path = tmp_path / "model=a/part.parquet"

    def rows(step):
        return {"step": step, "tokens": 0, "example": np.arange(3), "loss": np.ones((3, 4))}

    with LOSSES.writer(path) as first:
        first.append(rows(1))
        with LOSSES.writer(path) as second:
            second.append(rows(2))
            first.append(rows(3))
        assert LOSSES.read(path)["step"].unique().to_list() == [2]
    assert sorted(LOSSES.read(path)["step"].unique().to_list()) == [1, 3]
    assert [left.name for left in path.parent.iterdir()] == ["part.parquet"]


def test_a_writer_that_fails_leaves_the_other_s_file(tmp_path):
    path = tmp_path / "file.json"

    def fails():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise InductionError("no more")

    with replacing(path) as kept:
        kept.write_text("whole")
        with pytest.raises(InductionError, match="no more"):
            fails()
    assert path.read_text() == "whole"


def test_many_writers_at_once_leave_one_whole_file(tmp_path):
    path, failed = tmp_path / "file.json", []

    def write(number):
        try:
            for _ in range(20):
                write_json(path, [number] * 1000)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(set(read_json(path, "file"))) == 1
    assert [left.name for left in tmp_path.iterdir()] == ["file.json"]


KILLED = """
import os, sys
from pathlib import Path
from induction.files import replacing

with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(temporary.name, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    path = tmp_path / "file.json"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as writer:
        temporary = tmp_path / writer.stdout.readline().strip()
        write_json(path, 1)
        remove_abandoned(tmp_path, ".*.partial")
        assert temporary.read_text() == "half"
        writer.kill()
        writer.wait()
    assert temporary.is_file()
    write_json(path, 2)
    assert [left.name for left in tmp_path.iterdir()] == ["file.json"]


def test_without_locks_only_what_is_a_day_old_is_removed(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refused)
    old, new = tmp_path / ".file.1-00000000.partial", tmp_path / ".file.2-00000000.partial"
    for left in (old, new):
        left.write_text("half")
    os.utime(old, (0, 0))
    write_json(tmp_path / "file", 1)
    assert sorted(left.name for left in tmp_path.iterdir()) == [new.name, "file"]


def test_an_unreadable_table_is_opened_by_nobody(tmp_path, monkeypatch):
    """Whatever the fault: a number of the system's is reported as such, other words as damage."""
    path = tmp_path / "model=a/part.parquet"
    table(path)

    def failing(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("pyarrow.parquet.ParquetFile", failing)
    with pytest.raises(InductionError, match=r"part\.parquet: this table cannot be read: Input/output error\. Check"):
        open_parquet(path, "table")
