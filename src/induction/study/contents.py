"""What local files hold: a digest of their paths, sizes and bytes, for which unchanged files are not read again."""

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from induction.errors import InductionError
from induction.files import fingerprint, replacing, sealed, sha256_file

KNOWN = Path(".snakemake/induction-contents.json")
"""Digests of files and of sources; where it cannot be written, or Snakemake never ran, files are read each time."""

_SETTLED_SECONDS = 2.0  # a file that changed so lately may change again without another time of change
_MUCH_BYTES = 5 << 30


def digest_of_source(name: str, files: Sequence[Path], known: Path = KNOWN) -> str | None:
    """Return the digest of the files that a source names; where it names none any more, the last one that they had.

    So text may be deleted, or lie where only some machines see it, once a corpus is built from it.

    Args:
        name: what identifies the source.
        files: those that are there.
        known: what is remembered.

    Returns:
        The digest, or None of a source that never had a file.

    Raises:
        InductionError: a file cannot be read.
    """
    if not files:
        return _Known(known).sources.get(name)
    digest = digest_of(files, known)
    remembered = _Known(known)
    if remembered.sources.get(name) != digest:
        remembered.sources[name] = digest
        remembered.write()
    return digest


def digest_of(files: Iterable[Path], known: Path = KNOWN) -> str:
    """Return 16 hexadecimal digits that stand for the paths, sizes and bytes of files.

    A file is read again only if its size, its times of modification and of change or its place on the disk are others
    than when it was last read: the time of change is the system's, and no copying program sets it.

    Raises:
        InductionError: a file cannot be read.
    """
    remembered = _Known(known).files
    found: dict[str, list[Any]] = {}
    unread: dict[str, list[int]] = {}
    for path in sorted(files):
        name, seen = os.fsdecode(path), _seen(path)
        if remembered.get(name, [])[:-1] == seen:
            found[name] = remembered[name]
        else:
            found[name] = []
            unread[name] = seen
    n_bytes = sum(size for size, *_ in unread.values())
    if n_bytes > _MUCH_BYTES:
        print(f"Reading {n_bytes / 1e9:.0f} GB of text, once, to know it by its content", file=sys.stderr, flush=True)
    for name, seen in unread.items():
        found[name] = [*seen, _sha256(Path(name))]
    latest = time.time_ns() - _SETTLED_SECONDS * 1e9
    if settled := {name: found[name] for name, (*_, changed, _) in unread.items() if changed < latest}:
        again = _Known(known)  # another process may have added to it
        again.files = {name: entry for name, entry in again.files.items() if os.path.lexists(name)} | settled
        again.write()
    return fingerprint([[_named(name), size, sha256] for name, (size, *_, sha256) in found.items()])


class _Known:
    """What is remembered of files and sources; nothing where what is there is not whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.files: dict[str, list[Any]] = {}
        self.sources: dict[str, str] = {}
        with suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
            if content == sealed({"files": content["files"], "sources": content["sources"]}):
                self.files, self.sources = content["files"], content["sources"]

    def write(self) -> None:
        if self._path.parent.is_dir():
            content = json.dumps(sealed({"files": self.files, "sources": self.sources}))
            with suppress(InductionError, OSError), replacing(self._path) as temporary:
                temporary.write_text(content, encoding="utf-8", errors="surrogateescape")


def _seen(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _sha256(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> InductionError:
    return InductionError(
        f"{_named(os.fsdecode(path))}: cannot be read ({error.strerror}). Make it readable, or add its name to the "
        "source's exclude."
    )


def _named(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")
