"""Whole files or none, and what a file holds is what was written.

Everything is written under a temporary name and renamed. What is hashed when it is written is checked when it is read.
"""

import errno
import fcntl
import glob
import hashlib
import json
import os
import resource
import shutil
import socket
import sys
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from induction.errors import InductionError, UnreadableError

_READ_BYTES = 1 << 20
_LONGEST_NAME = 120
"""Bytes of a file's name that its temporary name repeats; file systems permit 255 in all."""
_ABANDONED_SECONDS = 86_400.0
SEAL = "content_sha256"
"""Field of a manifest: the SHA-256 of all its other fields."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on failure it is deleted.

    Several may write one path at the same time: each has a temporary file of its own, and the last to finish replaces
    what the others wrote.

    Raises:
        InductionError: the disk is full, the folder cannot be written, or another fault of the file system.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent, f".{glob.escape(_short(path.name))}.*.partial")
        temporary, lock = _own_partial(path)
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o666 & ~_umask())  # safetensors makes files that their owner alone can read
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
            os.close(lock)
    except OSError as error:
        if not _is_of(path, temporary, error):
            raise
        raise cannot_write(path, error) from error


def _short(name: str) -> str:
    """Return a file's name, cut where it leaves no room for what a temporary name adds."""
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    return f"{name.encode()[: _LONGEST_NAME // 2].decode(errors='ignore')}-{fingerprint(name)}"


def _own_partial(path: Path) -> tuple[Path, int]:
    """Make an empty temporary file that nobody else writes; return it and a descriptor that holds its lock.

    The lock shows others that the writer is alive. The system frees it when the writer dies.
    """
    while True:
        temporary = path.with_name(f".{_short(path.name)}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")
        lock = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another has just taken it for abandoned
            os.close(lock)
            continue
        except OSError:  # no locks on this file system
            return temporary, lock
        if _is_same_file(temporary, lock):
            return temporary, lock
        os.close(lock)


def _is_same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def remove_abandoned(folder: Path, pattern: str) -> None:
    """Remove the temporary files that killed writers left in a folder; those of living writers stay.

    A living writer holds the lock of its file. On a file system without locks a file stays until nobody has written to
    it for a day.
    """
    for left in folder.glob(pattern):
        with suppress(OSError):  # gone already, or not ours to remove
            descriptor = os.open(left, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            except OSError:
                if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                    left.unlink()
            else:
                if _is_same_file(left, descriptor):
                    left.unlink()
            finally:
                os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _is_full(folder: Path) -> bool:
    """Recognise a full disk where a library (numpy) raises without the system's error number."""
    return shutil.disk_usage(folder).free < _READ_BYTES


# --- faults of the file system ----------------------------------------------------------------------------------------


def cannot_read(path: Path, what: str, error: OSError) -> UnreadableError:
    """Return the error of a file, `what` it is, that is there and cannot be opened or read."""
    return UnreadableError(f"{path}: this {what} cannot be read: {_because(path, error, 'read')}")


def cannot_write(path: Path, error: OSError) -> InductionError:
    """Return the error of a file that cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT) or (error.errno is None and _is_full(path.parent))
    if full:
        return InductionError(
            f"{path}: the disk is full; nothing was kept of this file. Free some space and run again."
        )
    return InductionError(f"{path}: cannot be written: {_because(path, error, 'written')}")


def of_system(error: OSError) -> InductionError:
    """Return the error of a fault of the operating system that nobody expected where it happened."""
    if error.filename is None:
        return InductionError(f"{error}. Check the file system and the limits of this process, then run again.")
    path = Path(os.fsdecode(error.filename))
    return InductionError(f"{path}: {_because(path, error, 'read')}")


def is_fault_of_system(error: OSError) -> bool:
    """Return whether the operating system raised an error, not a library about what a file holds."""
    return error.errno is not None


def _because(path: Path, error: OSError, done: str) -> str:
    """Return why, in the operating system's words, and what to do."""
    reason = os.strerror(error.errno) if error.errno else str(error).rstrip(".")
    where = path.parent if done == "written" else path
    advice = {
        errno.EACCES: f"Give this user the right to {'write' if done == 'written' else 'read'} (ls -ld '{where}').",
        errno.EPERM: f"Give this user the right to {'write' if done == 'written' else 'read'} (ls -ld '{where}').",
        errno.EROFS: "Choose a folder on a file system that can be written.",
        errno.EMFILE: f"The limit is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}; raise it: ulimit -n 1024",
        errno.ENFILE: "Close other programs, or raise fs.file-max.",
        errno.ENAMETOOLONG: "Most file systems permit 255 bytes a name; choose a shorter one.",
        errno.EISDIR: "A file is needed here; move the folder away.",
        errno.ENOTDIR: "A part of this path is a file where a folder is needed; move it away.",
        errno.EEXIST: "A part of this path is a file where a folder is needed; move it away.",
        errno.ELOOP: "Remove the loop of symbolic links.",
        errno.EFBIG: "Raise the greatest size of a file: ulimit -f unlimited",
        errno.ENOENT: "Make the folder, or name another one.",
        errno.EIO: "Check the disk or the network file system, then run again.",
        errno.ESTALE: "Check the network file system, then run again.",
    }
    return f"{reason}. {advice.get(error.errno or 0, 'Check the file system, then run again.')}"


def _is_of(path: Path, temporary: Path | None, error: OSError) -> bool:
    """Return whether an error is of the file that is being written, not of another one or of a pipe."""
    if isinstance(error, BrokenPipeError):
        return False
    if error.errno is None:
        return _is_full(path.parent)
    if error.filename is None and error.errno in _WHILE_WRITING:
        return True
    if error.filename is not None:
        named = Path(os.fsdecode(error.filename))
        return named == path or named in path.parents or (named.parent == path.parent and named.suffix == ".partial")
    return str(temporary or path) in str(error)  # pyarrow names the file in its words


_WHILE_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE)
"""Errors that come without a file's name, when what was written goes to the disk."""


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
            raise InductionError(
                f"{self._path}: cannot be opened to write: {_because(self._path, error, 'written')}"
            ) from error
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
            return self._path.read_text(encoding="utf-8", errors="replace").strip()
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
        InductionError: the file is missing, cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InductionError(f"{path}: this {what} does not exist. Snakemake makes it: snakemake {path}") from None
    except OSError as error:
        raise cannot_read(path, what, error) from error
    except (ValueError, RecursionError) as error:
        raise InductionError(
            f"{path}: this {what} is not whole ({error}). Delete it and run snakemake again."
        ) from error


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest's content with the hash of all of it, which `check_seal` checks."""
    return {**content, SEAL: _content_sha256(content)}


def check_seal(path: Path, content: Mapping[str, Any], what: str, unsealed: Collection[str], again: str) -> None:
    """See that a manifest says what it said when it was written.

    Args:
        path: the manifest.
        content: what it says.
        what: what it is, for messages.
        unsealed: all fields that a manifest without a hash may have: what versions wrote that made none.
        again: what to do about a manifest that has changed.

    Raises:
        InductionError: it has changed.
    """
    if SEAL in content:
        changed = content[SEAL] != _content_sha256({name: value for name, value in content.items() if name != SEAL})
    else:
        changed = not content.keys() <= set(unsealed)
    if changed:
        raise InductionError(f"{path}: this {what} has changed since it was written. {again}")


def _content_sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(content).encode(errors="surrogatepass")).hexdigest()


_SVG_SEAL = b"<!-- sha256 "
_SVG_SEAL_END = b" -->\n"


def sealed_svg(content: bytes) -> bytes:
    """Return a drawing with its hash in a comment after it."""
    return content + _SVG_SEAL + hashlib.sha256(content).hexdigest().encode() + _SVG_SEAL_END


def read_svg(path: Path, what: str) -> bytes:
    """Return a drawing that `sealed_svg` has sealed, without its seal.

    Raises:
        InductionError: it is missing, cannot be read, or has changed since it was drawn.
    """
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        raise InductionError(f"{path}: this {what} does not exist. Make it: snakemake {path}") from None
    except OSError as error:
        raise cannot_read(path, what, error) from error
    content = found[: max(found.rfind(_SVG_SEAL), 0)]
    if sealed_svg(content) != found:
        raise InductionError(
            f"{path}: this {what} has changed since it was drawn, or was not drawn by this program. "
            f"Make it again: snakemake --force {path}"
        )
    return content


def json_rows(text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of JSON lines; what a killed writer has left, such as half a line, is passed over."""
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
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
    return hashlib.sha256(_canonical(content).encode()).hexdigest()[:16]


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
