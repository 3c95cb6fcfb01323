"""The documents of a source: installed Python packages, or files by glob."""

import ast
import bz2
import gzip
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from induction.errors import InductionError, nearest
from induction.study.corpora import Source, matches

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_PARQUET_ROWS = 1024
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Document:
    """A text, and the place it was read from: a file, `FILE:LINE` or `FILE row N`."""

    text: str
    origin: str


def documents(source: Source) -> Iterator[Document]:
    """Yield a source's documents, files in the order of their names.

    Raises:
        InductionError: nothing matches, or a file cannot be read as what its name says.
    """
    for path in _package_files(source) if source.package is not None else _globbed_files(source):
        kind = Path(path.stem).suffix if path.suffix in _OPENERS else path.suffix
        if kind == ".jsonl":
            yield from _json_lines(path, source)
        elif kind == ".parquet":
            yield from _parquet_rows(path, source.text_field)
        elif source.extract == "docstrings":
            yield _docstrings(_text(path))
        else:
            yield _text(path)


def describe(source: Source) -> dict[str, str]:
    """Return what a source is, for a manifest: the package and its installed version, or the glob.

    Raises:
        InductionError: the package is missing, or has another version.
    """
    if source.package is not None:
        return {"package": source.package, "version": _distribution(source).version}
    return {"files": str(source.files)}


# --- which files ------------------------------------------------------------------------------------------------


def _distribution(source: Source) -> metadata.Distribution:
    name, version = str(source.package), source.version
    install = f"pip install {name}=={version}" if version else f"pip install {name}"
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        installed = sorted({other.name for other in metadata.distributions()})
        raise InductionError(
            f"package {name} is not installed. Install it: {install}.{nearest(name, installed)}"
        ) from None
    if version is not None and found.version != version:
        raise InductionError(
            f"package {name} is installed in version {found.version}, and version {version} is asked for. "
            f"Install that ({install}), or change the source's version."
        )
    return found


def _package_files(source: Source) -> list[Path]:
    distribution = _distribution(source)
    # Paths that leave the package's folder are scripts that the installer wrote for this machine.
    listed = [file for file in distribution.files or () if ".." not in file.parts]
    matching = [file for file in listed if matches(file, source.include) and not matches(file, source.exclude)]
    if not matching:
        raise InductionError(
            f"package {source.package}: none of its {len(listed)} files matches include {list(source.include)} "
            f"without matching exclude {list(source.exclude)}"
        )
    return [Path(str(distribution.locate_file(file))) for file in sorted(matching, key=str)]


def _globbed_files(source: Source) -> list[Path]:
    files = source.globbed_files()
    if not files:
        without = f" without matching exclude {list(source.exclude)}" if source.exclude else ""
        raise InductionError(f"no file matches {source.files}{without}. Relative globs start at {Path.cwd()}")
    return files


# --- what a file holds ------------------------------------------------------------------------------------------


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, _OPENERS[path.suffix](path, "rb") if path.suffix in _OPENERS else path.open("rb"))


def _unreadable(path: Path, error: Exception) -> InductionError:
    if isinstance(error, OSError) and error.strerror:
        return InductionError(f"{path}: cannot be read ({error.strerror}). {_leave_out(path)}")
    return InductionError(f"{path}: truncated or damaged ({error}). Get the file again. {_leave_out(path)}")


def _leave_out(path: Path) -> str:
    return f'To leave it out, add "{path.name}" to the source\'s exclude.'


_READ_ERRORS = (OSError, EOFError, UnicodeDecodeError, zlib.error, lzma.LZMAError, pa.ArrowException)


def _text(path: Path) -> Document:
    try:
        with _open(path) as file:
            content = file.read()
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from None
    try:
        return Document(content.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise InductionError(
            f"{path}: not UTF-8 text: byte {error.start} is 0x{content[error.start]:02x}. {_leave_out(path)}"
        ) from None


def _docstrings(document: Document) -> Document:
    """Return the docstrings of a Python file."""
    try:
        nodes = ast.walk(ast.parse(document.text))
    except (SyntaxError, ValueError) as error:
        raise InductionError(
            f"{document.origin}: no Python file that has docstrings ({error}). {_leave_out(Path(document.origin))}"
        ) from None
    documented = [node for node in nodes if isinstance(node, _DOCUMENTED)]
    documented.sort(key=lambda node: getattr(node, "lineno", 0))
    found = (ast.get_docstring(node) for node in documented)
    return Document("\n\n".join(text for text in found if text), document.origin)


def _json_lines(path: Path, source: Source) -> Iterator[Document]:
    """Yield a document a row, or one of each run of rows that are equal in `group_by`."""
    try:
        with _open(path) as file:
            rows = (
                _json_line(line, source, f"{path}:{number}")
                for number, line in enumerate(file, start=1)
                if line.strip()
            )
            if not source.group_by:
                yield from (document for _, document in rows)
                return
            for _, group in groupby(rows, key=itemgetter(0)):
                lines = [document for _, document in group]
                yield Document("\n".join(line.text for line in lines), lines[0].origin)
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from None


def _json_line(line: bytes, source: Source, origin: str) -> tuple[list[Any], Document]:
    """Return the values of a row's fields `group_by`, and its text."""
    try:
        content = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InductionError(f"{origin}: not a line of JSON ({error})") from None
    if not isinstance(content, dict):
        raise InductionError(f"{origin}: a JSON object is needed, and this is {type(content).__name__}")
    for setting, field in (("text_field", source.text_field), *(("group_by", name) for name in source.group_by)):
        if field not in content:
            raise InductionError(
                f"{origin}: no field {field}. Fields of this line: {', '.join(content) or 'none'}. "
                f"Set the source's {setting}.{nearest(field, content)}"
            )
    text = content[source.text_field]
    if not isinstance(text, str):
        raise InductionError(f"{origin}: field {source.text_field} holds {type(text).__name__}, not text")
    return [content[name] for name in source.group_by], Document(text, origin)


def _parquet_rows(path: Path, text_field: str) -> Iterator[Document]:
    try:
        with _open(path) as file, pq.ParquetFile(file) as rows:
            columns = rows.schema_arrow.names
            if text_field not in columns:
                raise InductionError(
                    f"{path}: no column {text_field}. Columns: {', '.join(columns)}. "
                    f"Set the source's text_field.{nearest(text_field, columns)}"
                )
            number = 0
            for batch in rows.iter_batches(batch_size=_PARQUET_ROWS, columns=[text_field]):
                for text in batch.column(0).to_pylist():
                    number += 1
                    origin = f"{path} row {number}"
                    if not isinstance(text, str):
                        held = "nothing" if text is None else type(text).__name__
                        raise InductionError(f"{origin}: column {text_field} holds {held}, not text")
                    yield Document(text, origin)
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from None
