"""Files are known by what they hold, and read again only when they have changed."""

import json
import os
import time

import pytest

from induction.errors import InductionError
from induction.study import contents
from induction.study.contents import digest_of, digest_of_source


@pytest.fixture
def files(tmp_path):
    for name in "abc":
        (tmp_path / name).write_text(f"text of {name}")
    return [tmp_path / name for name in "abc"]


@pytest.fixture
def known(tmp_path, monkeypatch):
    """A place to remember; files are taken as settled at once."""
    monkeypatch.setattr(contents, "_SETTLED_SECONDS", -1.0)
    (tmp_path / "state").mkdir()
    return tmp_path / "state/known.json"


@pytest.fixture
def read(monkeypatch):
    """Names of the files that are read."""
    seen, hashed = [], contents.sha256_file

    def counted(path):
        seen.append(path.name)
        return hashed(path)

    monkeypatch.setattr(contents, "sha256_file", counted)
    return seen


def test_files_that_did_not_change_are_read_once(files, known, read):
    digest = digest_of(files, known)
    assert digest_of(reversed(files), known) == digest
    assert read == ["a", "b", "c"]


def test_a_change_that_keeps_size_and_time_of_modification_is_seen(files, known, read):
    digest, status = digest_of(files, known), files[1].stat()
    files[1].write_text("text of B")
    os.utime(files[1], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (files[1].stat().st_size, files[1].stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert digest_of(files, known) != digest
    assert read == ["a", "b", "c", "b"]


def test_a_file_that_takes_anothers_place_is_seen(files, known, read, tmp_path):
    """As `rsync -a` does: a new file of the same size and time is renamed onto the old one."""
    digest, status = digest_of(files, known), files[1].stat()
    (tmp_path / "new").write_text("text of B")
    os.utime(tmp_path / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    (tmp_path / "new").replace(files[1])
    assert digest_of(files, known) != digest


def test_times_change_no_digest_and_paths_do(files, known, tmp_path):
    digest = digest_of(files, known)
    os.utime(files[0], (0, 0))
    os.utime(files[2], (time.time() + 1e6, time.time() + 1e6))
    assert digest_of(files, known) == digest
    files[0].rename(tmp_path / "aa")
    assert digest_of([tmp_path / "aa", *files[1:]], known) != digest


def test_a_file_that_changed_a_moment_ago_is_read_again(files, tmp_path, read):
    """It may change again without another time of change."""
    for _ in range(2):
        digest_of(files[:1], tmp_path / "known.json")
    assert read == ["a", "a"]


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b"\xff", None])
def test_what_is_remembered_is_not_believed_where_it_is_damaged(files, known, read, damage):
    digest = digest_of(files, known)
    if damage is None:  # one digit of a hash
        content = json.loads(known.read_text())
        entry = content["files"][str(files[0])]
        entry[-1] = entry[-1].translate(str.maketrans("0123456789abcdef", "123456789abcdef0"))
        damage = json.dumps(content).encode()
    known.write_bytes(damage)
    assert digest_of(files, known) == digest
    assert read == ["a", "b", "c"] * 2


def test_a_place_that_cannot_be_written_is_no_failure(files, tmp_path):
    digest = digest_of(files, tmp_path / "nowhere/known.json")
    assert digest == digest_of(files, files[0] / "known.json")
    assert not (tmp_path / "nowhere").exists()


def test_a_source_whose_files_are_gone_keeps_its_digest(files, known):
    assert digest_of_source("mine", [], known) is None
    digest = digest_of_source("mine", files, known)
    assert digest_of_source("mine", [], known) == digest
    assert digest_of_source("another", [], known) is None
    fewer = digest_of_source("mine", files[:1], known)
    assert digest_of_source("mine", [], known) == fewer != digest


def test_an_unreadable_file_is_named(tmp_path, known):
    with pytest.raises(InductionError, match=r"nothing: cannot be read \(No such file or directory\)\. Make it read"):
        digest_of([tmp_path / "nothing"], known)


def test_names_that_are_not_utf8_are_files_too(tmp_path, known, read):
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / name).write_text("text")
    digest = digest_of([tmp_path / name], known)
    assert digest_of([tmp_path / name], known) == digest
    assert read == [name]
