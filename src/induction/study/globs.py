"""Files that a glob names: each folder once, whatever links lead to it, and nothing left out without a word."""

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path

from induction.errors import InductionError


def globbed(pattern: str, is_excluded: Callable[[Path], bool]) -> list[Path]:
    """Return the files that a glob names and that are not excluded, in the order of their names.

    `*`, `?` and `[…]` match within a name, `**` any number of folders, as in Python's `glob`; a name that begins with
    a dot is matched by a pattern that begins with one. Links to folders are followed. A folder that `**` reaches by
    several ways is listed once, by its own name where it has one there, so that loops end.

    Raises:
        InductionError: a file cannot be read, is a link to nothing or no regular file, or its name is not UTF-8; or a
            folder cannot be listed.
    """
    parts = [part for part in pattern.split("/") if part]
    if not parts or pattern.endswith("/"):
        return []
    found = dict.fromkeys(_expand("/" if pattern.startswith("/") else "", parts, is_excluded))
    paths = sorted(path for path in map(Path, found) if not is_excluded(path))
    return [path for path in paths if _is_file(path)]


def printable(path: Path) -> str:
    """Return a path as text that can be printed, with escapes for bytes that are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _expand(folder: str, parts: list[str], is_excluded: Callable[[Path], bool]) -> Iterator[str]:
    """Yield what the parts of a glob match in a folder; `""` is the folder where relative globs start."""
    part, rest = parts[0], parts[1:]
    if part == "**":
        while rest and rest[0] == "**":
            rest = rest[1:]
        for below in _folders(folder, is_excluded):
            yield from _expand(below, rest or ["*"], is_excluded)
    elif has_magic(part):
        for entry in _entries(folder, is_excluded):
            if fnmatchcase(entry.name, part) and (part.startswith(".") or not entry.name.startswith(".")):
                if not rest:
                    yield entry.path
                elif _is_folder(entry):
                    yield from _expand(entry.path, rest, is_excluded)
    elif rest:
        yield from _expand(os.path.join(folder, part), rest, is_excluded)  # noqa: PTH118 (of a relative, empty folder too)
    elif os.path.lexists(path := os.path.join(folder, part)):  # noqa: PTH118
        yield path


def _folders(top: str, is_excluded: Callable[[Path], bool]) -> Iterator[str]:
    """Yield a folder and those below it, each once: by links only what has no other name there."""
    seen: set[tuple[int, int]] = set()
    waiting, linked = deque([top]), deque[str]()
    while waiting or linked:
        folder = waiting.popleft() if waiting else linked.popleft()
        try:
            found = os.stat(folder or ".")  # noqa: PTH116
        except OSError:
            continue
        if (found.st_dev, found.st_ino) in seen:
            continue
        seen.add((found.st_dev, found.st_ino))
        yield folder
        for entry in _entries(folder, is_excluded):
            if not entry.name.startswith(".") and _is_folder(entry):
                (linked if entry.is_symlink() else waiting).append(entry.path)


def _entries(folder: str, is_excluded: Callable[[Path], bool]) -> "list[os.DirEntry[str] | _Bare]":
    try:
        with os.scandir(folder or ".") as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        if is_excluded(Path(folder)):
            return []
        raise InductionError(
            f"{printable(Path(folder or '.'))}: this folder cannot be listed ({error.strerror}). Make it readable, or "
            f"add its name to the source's exclude."
        ) from None
    return [entry if folder else _Bare(entry) for entry in listed]


class _Bare:
    """An entry of the folder where relative globs start: its path is its name, without `./`."""

    def __init__(self, entry: "os.DirEntry[str]") -> None:
        self.name = self.path = entry.name
        self.is_dir, self.is_symlink = entry.is_dir, entry.is_symlink


def _is_folder(entry: "os.DirEntry[str] | _Bare") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, or to where this user may not look
        return False


def _is_file(path: Path) -> bool:
    """Return whether a path is a file that can be read, or a folder; all else is refused."""
    name = printable(path)
    exclude = f'To leave it out, add "{_pattern_of(path)}" to the source\'s exclude.'
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink():
            target = printable(path.readlink())
            raise InductionError(
                f"{name}: a link to {target}, which cannot be read ({error.strerror}). {exclude}"
            ) from None
        raise InductionError(f"{name}: cannot be read ({error.strerror}). {exclude}") from None
    if stat.S_ISDIR(mode):
        return False
    if not stat.S_ISREG(mode):
        raise InductionError(f"{name}: not a regular file, but a pipe, socket or device. {exclude}")
    if not _is_utf8(path):
        raise InductionError(f"{name}: the file's name is not UTF-8. Rename it. {exclude}")
    if not os.access(path, os.R_OK):
        raise InductionError(f"{name}: cannot be read (Permission denied). {exclude}")
    return True


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _pattern_of(path: Path) -> str:
    """Return a shell pattern that matches a file's name, with ? for bytes that are not UTF-8."""
    return "".join("?" if "\udc80" <= letter <= "\udcff" else letter for letter in path.name)
