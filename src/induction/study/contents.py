"""What local files hold: a digest of their paths, sizes and bytes, for which unchanged files are not read again."""

import json
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from induction.errors import InductionError
from induction.files import fingerprint, replacing, sha256_file

KNOWN = Path(".snakemake/induction-contents.json")
"""Digests of files, by path; where it cannot be written, or Snakemake never ran, files are read each time."""

_SETTLED_SECONDS = 2.0  # a file that changed so lately may change again without another time of change
_MUCH_BYTES = 5 << 30


def digest_of(files: Iterable[Path], known: Path = KNOWN) -> str:
    """Return 16 hexadecimal digits that stand for the paths, sizes and bytes of files.

    A file is read again only if its size, its times of modification and of change or its place on the disk are others
    than when it was last read: the time of change is the system's, and no copying program sets it.

    Raises:
        InductionError: a file cannot be read.
    """
    remembered = _remembered(known)
    found: dict[str, list[Any]] = {}
    unread: dict[str, list[int]] = {}
    for path in sorted(files):
        name = os.fsdecode(path)
        seen = _seen(path)
        if name in remembered and remembered[name][:-1] == seen:
            found[name] = remembered[name]
        else:
            found[name] = []
            unread[name] = seen
    n_bytes = sum(size for size, *_ in unread.values())
    if n_bytes > _MUCH_BYTES:
        print(f"Reading {n_bytes / 1e9:.0f} GB of text, once, to know it by its content", file=sys.stderr, flush=True)
    for name, seen in unread.items():
        found[name] = [*seen, _sha256(Path(name))]
    now = time.time_ns()
    settled = {name: found[name] for name, seen in unread.items() if seen[2] < now - _SETTLED_SECONDS * 1e9}
    if settled and known.parent.is_dir():
        with suppress(InductionError, OSError), replacing(known) as temporary:
            temporary.write_text(
                json.dumps({**_there(_remembered(known)), **settled}), encoding="utf-8", errors="surrogateescape"
            )
    return fingerprint([[_named(name), size, sha256] for name, (size, *_, sha256) in found.items()])


def _there(remembered: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: entry for name, entry in remembered.items() if os.path.lexists(name)}


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


def _remembered(known: Path) -> dict[str, list[Any]]:
    """Return what is known of files; nothing where what is there is not whole."""
    try:
        content = json.loads(known.read_text(encoding="utf-8", errors="surrogateescape"))
        return {name: entry for name, entry in content.items() if len(entry) == 5}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
