"""Whole files or none: everything is written under a temporary name and renamed."""

import errno
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
