"""Which files a glob names: links, loops, names and permissions, as the study asks when it plans, and as a job reads."""

import glob
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.small_corpora import build, random_texts, write_texts
from induction.corpus.order import DocumentOrder
from induction.corpus.sources import documents, pinned
from induction.errors import InductionError
from induction.study.corpora import Source


def names_of(folder, pattern, **fields):
    found = Source(files=f"{folder}/{pattern}", **fields).globbed_files()
    return [path.relative_to(folder).as_posix() for path in found]


def refusal(folder, pattern, **fields):
    with pytest.raises(InductionError) as error:
        names_of(folder, pattern, **fields)
    return str(error.value)


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


# --- as Python's glob -------------------------------------------------------------------------------------------

NAMES = st.lists(st.sampled_from(["a", "b.txt", ".c", "d[1].txt", "e"]), min_size=1, max_size=4).map("/".join)
PARTS = st.sampled_from(["**", "*", "a", "*.txt", "?", "[ab]*", ".*", "d[[]1].txt", "e", "..", "."])


@settings(deadline=None, max_examples=100)
@given(names=st.sets(NAMES, max_size=8), parts=st.lists(PARTS, min_size=1, max_size=4))
def test_without_links_it_finds_what_pythons_glob_finds(tmp_path_factory, names, parts):
    folder = tmp_path_factory.mktemp("tree") / "x" / "x" / "x"  # so that .. finds little
    folder.mkdir(parents=True)
    for name in sorted(names, key=len, reverse=True):
        if not (folder / name).exists():
            make(folder, name)
    pattern = f"{folder}/{'/'.join(parts)}"
    found = map(Path, glob.glob(pattern, recursive=True))  # noqa: PTH207
    expected = sorted({path for path in found if path.is_file()})
    assert Source(files=pattern).globbed_files() == expected


def test_a_relative_glob(tmp_path, monkeypatch):
    monkeypatch.chdir(make(tmp_path, "a.txt", "b/c.txt"))
    for pattern, found in {
        "*": ["a.txt"],
        "**/*": ["a.txt", "b/c.txt"],
        "**": ["a.txt", "b/c.txt"],
        "b/*": ["b/c.txt"],
    }.items():
        assert [str(path) for path in Source(files=pattern).globbed_files()] == found
    with pytest.raises(InductionError, match=r"no file matches b\. Relative globs .* It is a folder: write b/\*\*/\*"):
        pinned(Source(files="b"))


# --- links ------------------------------------------------------------------------------------------------------


def test_a_loop_of_links_ends_and_each_file_is_read_once(tmp_path):
    make(tmp_path, "a/1.txt", "a/b/2.txt")
    (tmp_path / "a" / "b" / "up").symlink_to("..")
    (tmp_path / "a" / "here").symlink_to(".")
    assert names_of(tmp_path, "**/*.txt") == ["a/1.txt", "a/b/2.txt"]
    assert names_of(tmp_path, "a/**") == ["a/1.txt", "a/b/2.txt"]


def test_folders_that_link_to_each_other(tmp_path):
    """Without a memory of what was seen, the paths of twelve such folders are more than 12!."""
    folders = [tmp_path / f"{number:02d}" for number in range(12)]
    for folder in folders:
        make(folder, "a.txt")
        for other in folders:
            (folder / f"to-{other.name}").symlink_to(other)
    assert names_of(tmp_path, "**/*.txt") == [f"{folder.name}/a.txt" for folder in folders]


def test_a_folder_that_only_a_link_leads_to_is_read(tmp_path):
    make(tmp_path / "elsewhere", "b/1.txt")
    make(tmp_path / "text", "2.txt")
    (tmp_path / "text" / "link").symlink_to("../elsewhere")
    assert names_of(tmp_path / "text", "**/*.txt") == ["2.txt", "link/b/1.txt"]
    assert names_of(tmp_path / "text", "*/b/*.txt") == ["link/b/1.txt"]


@pytest.mark.parametrize("pattern", ["*", "**/*.txt", "a.txt"])
def test_a_link_to_nothing_is_refused_by_name(tmp_path, pattern):
    make(tmp_path, "b.txt")
    (tmp_path / "a.txt").symlink_to("gone.txt")
    message = refusal(tmp_path, pattern)
    assert message == (
        f"{tmp_path}/a.txt: a link to gone.txt, which cannot be read (No such file or directory). "
        'To leave it out, add "a.txt" to the source\'s exclude.'
    )
    assert names_of(tmp_path, "*", exclude=["a.txt"]) == ["b.txt"]


def test_a_link_to_itself(tmp_path):
    (tmp_path / "a.txt").symlink_to("a.txt")
    assert "a.txt: a link to a.txt, which cannot be read (Too many levels of symbolic links)" in refusal(tmp_path, "**")


def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "a.txt")
    assert "a.txt: not a regular file, but a pipe, socket or device." in refusal(tmp_path, "*")


# --- names ------------------------------------------------------------------------------------------------------


def test_a_name_that_is_not_utf_8_is_refused_by_name(tmp_path):
    make(tmp_path, "b.txt")
    (tmp_path / "caf\udce9.txt").touch()
    for pattern in ("*", "**/*.txt"):
        message = refusal(tmp_path, pattern)
        assert f"{tmp_path}/caf\\xe9.txt: the file's name is not UTF-8. Rename it." in message
        message.encode()
        assert 'add "caf?.txt" to the source\'s exclude' in message
        assert names_of(tmp_path, pattern, exclude=["caf?.txt"]) == ["b.txt"]


def test_a_folder_whose_name_is_not_utf_8(tmp_path):
    (tmp_path / "caf\udce9").mkdir()
    (tmp_path / "caf\udce9" / "a.txt").touch()
    assert "caf\\xe9/a.txt: the file's name is not UTF-8" in refusal(tmp_path, "**/*.txt")


def test_what_an_error_says_to_exclude_excludes_it(tmp_path):
    make(tmp_path, "a[1]*.bin", "b.txt")
    with pytest.raises(InductionError, match=r"unknown suffix") as error:
        pinned(Source(files=f"{tmp_path}/*"))
    pattern = str(error.value).split('add "')[1].split('"')[0]
    assert names_of(tmp_path, "*", exclude=[pattern]) == ["b.txt"]


@pytest.mark.parametrize("name", ["a" * 300, "a" * 300 + "/*", "a" * 300 + "/**"])
def test_a_name_that_no_file_can_have_matches_none(tmp_path, name):
    with pytest.raises(InductionError, match=r"no file matches|cannot be listed \(File name too long\)"):
        pinned(Source(files=f"{tmp_path}/{name}"))


# --- permissions, and few open files ----------------------------------------------------------------------------


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    make(tmp_path, "a/1.txt", "b/2.txt")
    scandir = os.scandir

    def closed(folder):
        if str(folder).endswith("/b"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", closed)
    for pattern in ("**/*.txt", "*/*.txt", "b/*"):
        assert f"{tmp_path}/b: this folder cannot be listed (Permission denied)." in refusal(tmp_path, pattern)
    assert names_of(tmp_path, "**/*.txt", exclude=["b"]) == ["a/1.txt"]


def test_a_file_that_cannot_be_read_when_the_study_is_planned(tmp_path, monkeypatch):
    make(tmp_path, "a.txt")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "a.txt: cannot be read (Permission denied). To leave it out" in refusal(tmp_path, "*")


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.parquet", "a.txt.gz", "a.jsonl.zst", "a"])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied"), "cannot be read (Permission denied). To leave it out"),
        (OSError(5, "Input/output error"), "cannot be read (Input/output error). To leave it out"),
        (OSError(24, "Too many open files"), "files open. Raise that: ulimit -n."),
    ],
)
def test_a_file_that_cannot_be_opened(tmp_path, monkeypatch, name, error, words):
    source = Source(files=str(make(tmp_path, name) / name))
    read = Path.open

    def closed(path, *how, **more):
        if path.name == name:
            raise error
        return read(path, *how, **more)

    monkeypatch.setattr(Path, "open", closed)
    for reading in (pinned, lambda asked: list(documents(asked))):
        with pytest.raises(InductionError) as found:
            reading(source)
        assert f"{name}: " in str(found.value)
        assert words in str(found.value)


def test_a_wrong_file_is_reported_before_another_is_read(tmp_path):
    make(tmp_path, "a.txt", "b.bin")
    with pytest.raises(InductionError, match=r"b\.bin: unknown suffix \.bin"):
        pinned(Source(files=f"{tmp_path}/*"))


BUILDS = """
import json, resource, sys
from pathlib import Path
from corpus.small_corpora import build

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
build(Path(sys.argv[1]), json.loads(sys.argv[2]))
"""


def test_few_open_files_are_enough(tmp_path):
    source = write_texts(tmp_path / "texts", random_texts(3, 60))
    build(tmp_path / "many", source)
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, "-c", BUILDS, tmp_path / "few", json.dumps(source)],
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    for written in (tmp_path / "many").iterdir():
        assert written.read_bytes() == (tmp_path / "few" / written.name).read_bytes()


def test_documents_are_all_there_whatever_is_kept_in_memory(tmp_path, monkeypatch):
    texts = [text.encode() for text in random_texts(4, 300)]
    orders = []
    for number, most in enumerate((1, 1000, 1 << 20)):
        monkeypatch.setattr("induction.corpus.order._BUFFER_BYTES", most)
        (tmp_path / str(number)).mkdir()
        with DocumentOrder(tmp_path / str(number), 0.5, seed=0) as order:
            for text in texts:
                order.add(0, text)
        orders.append([document.text.encode() for document in order])
    assert sorted(orders[0]) == sorted(texts)
    assert orders[0] == orders[1] == orders[2]
