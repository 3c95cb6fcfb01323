"""Whole files or none: everything is written under a temporary name and renamed."""

import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from induction.errors import InductionError

_READ_BYTES = 1 << 20


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on failure it is deleted.

    Raises:
        InductionError: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for killed in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
            killed.unlink(missing_ok=True)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())  # safetensors makes files that their owner alone can read
        temporary.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or (error.errno is None and _is_full(path.parent)):
            raise InductionError(
                f"{path}: the disk is full; nothing was kept of this file. Free some space and run again."
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS) and error.filename in (str(temporary), str(path.parent)):
            raise InductionError(f"{path}: cannot be written ({error.strerror}).") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _is_full(folder: Path) -> bool:
    """Tell a full disk where a library (numpy) raises without the system's error number."""
    return shutil.disk_usage(folder).free < _READ_BYTES


class FolderLock:
    """Keeps other jobs out of a folder, on whichever node they run; the system frees it when its holder dies."""

    def __init__(self, folder: Path) -> None:
        """Lock nothing yet; see `taken`."""
        self._folder = folder
        self._path = folder / ".lock"
        self._held: TextIO | None = None

    def taken(self) -> bool:
        """Try to take the lock, without waiting; return whether this object holds it.

        Where the file system has no locks, a warning is printed, and it is as if the lock were held.

        Raises:
            InductionError: the folder or the lock's file cannot be made.
        """
        if self._held:
            return True
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = self._path.open("a+", encoding="utf-8")  # each time anew: the folder may have been made again
        except OSError as error:
            raise InductionError(f"{self._path}: cannot be opened to write ({error.strerror}).") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        except OSError as error:
            print(
                f"{self._folder}: no locks on this file system ({error.strerror}); let one job at a time write here",
                file=sys.stderr,
                flush=True,
            )
        self._held = file
        with suppress(OSError):  # a full disk: only the name of the holder is lost
            os.truncate(file.fileno(), 0)
            os.write(file.fileno(), _this_job().encode())
            os.fsync(file.fileno())  # nodes that share the folder read it
        return True

    def owner(self) -> str:
        """Return host, process and SLURM job of the last that took the lock, as JSON; empty where nobody wrote it."""
        try:
            return self._path.read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    def release(self, *, forget: bool = False) -> None:
        """Give the lock back, if it is held; the file stays, as another may be about to lock it.

        Args:
            forget: name the owner no longer; for a folder whose bytes must not tell who made it.
        """
        if self._held:
            with suppress(OSError), self._held:
                if forget:
                    os.truncate(self._held.fileno(), 0)
                fcntl.flock(self._held, fcntl.LOCK_UN)  # closing is not enough while a forked process has the file too
            self._held = None


def _this_job() -> str:
    who = {"host": socket.gethostname(), "pid": os.getpid(), "slurm_job": os.environ.get("SLURM_JOB_ID")}
    return json.dumps(who)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file that a stage wrote.

    Raises:
        InductionError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InductionError(f"{path}: this {what} does not exist. Snakemake makes it: snakemake {path}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InductionError(
            f"{path}: this {what} is not whole ({error}). Delete it and run snakemake again."
        ) from error


def json_rows(text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of JSON lines; what a killed writer has left, such as half a line, is passed over."""
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict):
            yield row


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint(content: Any) -> str:
    """Return 16 hexadecimal digits that identify a JSON-like value, whatever the order of its keys."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
