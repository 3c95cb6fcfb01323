"""The documents of a source: installed Python packages, files by glob, or data sets of the Hugging Face hub."""

import ast
import bz2
import gzip
import json
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from induction.corpus import hub
from induction.errors import InductionError, nearest
from induction.study.corpora import Source, matches

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_PARQUET_ROWS = 64  # at a time: a row may be a book
_PARQUET_BUFFER_BYTES = 8 << 20  # of a column, and of a request to the hub: a row group may be as large as its file
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Document:
    """A text, and the place it was read from: a file, `FILE:LINE` or `FILE row N`."""

    text: str
    origin: str


def pinned(source: Source) -> Source:
    """Return the source with the commit that its revision is now, once what it names is found to be there.

    Raises:
        InductionError: a package, file, data set, revision or column is missing, or the hub cannot be reached.
    """
    if source.package is not None:
        _package_files(source)
    elif source.files is not None:
        _globbed_files(source)
    else:
        commit = hub.commit_of(str(source.hugging_face), str(source.revision))
        source = source.model_copy(update={"revision": commit})
        first = hub.files_of(source)[0]
        with _reading_parquet(first, source):
            pass
    return source


def documents(source: Source) -> Iterator[Document]:
    """Yield a source's documents, files in the order of their names, until the most that are asked for.

    Args:
        source: of a data set, its revision should be a commit (`pinned`), lest it change while it is read.

    Raises:
        InductionError: nothing matches, or a file cannot be read as what its name says.
    """
    n_documents = n_characters = 0
    for document in _all_documents(source):
        yield document
        n_documents += 1
        n_characters += len(document.text)
        if n_documents == source.max_documents or n_characters >= (source.max_characters or float("inf")):
            return
    if source.where and not n_documents:
        raise InductionError(
            f"no row has the values of where: {source.where}. Compare them with those of the columns; "
            "1900 is a number, and '1900' is text."
        )


def describe(source: Source) -> dict[str, str]:
    """Return what a source is, for a manifest: package and installed version, glob, or data set and revision.

    Raises:
        InductionError: the package is missing, or has another version.
    """
    if source.package is not None:
        return {"package": source.package, "version": _distribution(source).version}
    if source.hugging_face is not None:
        return {"hugging_face": source.hugging_face, "revision": str(source.revision)}
    return {"files": str(source.files)}


def _all_documents(source: Source) -> Iterator[Document]:
    if source.hugging_face is not None:
        for file in hub.files_of(source):
            yield from _parquet_rows(file, source)
        return
    for path in _package_files(source) if source.package is not None else _globbed_files(source):
        kind = Path(path.stem).suffix if path.suffix in _OPENERS else path.suffix
        if kind == ".jsonl":
            yield from _json_lines(path, source)
        elif kind == ".parquet":
            yield from _parquet_rows(path, source)
        elif source.where:
            raise InductionError(f"{path}: has no columns for where to ask of. {_leave_out(path)}")
        elif source.extract == "docstrings":
            yield _docstrings(_text(path))
        else:
            yield _text(path)


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
            lines = ((line, f"{path}:{number}") for number, line in enumerate(file, start=1) if line.strip())
            rows = (row for line, origin in lines if (row := _json_line(line, source, origin)))
            if not source.group_by:
                yield from (document for _, document in rows)
                return
            for _, group in groupby(rows, key=itemgetter(0)):
                parts = [document for _, document in group]
                yield Document("\n".join(part.text for part in parts), parts[0].origin)
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from None


def _json_line(line: bytes, source: Source, origin: str) -> tuple[list[Any], Document] | None:
    """Return the values of a row's fields `group_by`, and its text; nothing of a row that has not the values asked."""
    try:
        content = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InductionError(f"{origin}: not a line of JSON ({error})") from None
    if not isinstance(content, dict):
        raise InductionError(f"{origin}: a JSON object is needed, and this is {type(content).__name__}")
    for setting, field in (*_columns(source), *(("group_by", name) for name in source.group_by)):
        if field not in content:
            raise InductionError(
                f"{origin}: no field {field}. Fields of this line: {', '.join(content) or 'none'}. "
                f"Set the source's {setting}.{nearest(field, content)}"
            )
    if not all(_has(content[field], value) for field, value in source.where.items()):
        return None
    text = content[source.text_field]
    if not isinstance(text, str):
        raise InductionError(f"{origin}: field {source.text_field} holds {type(text).__name__}, not text")
    return [content[name] for name in source.group_by], Document(text, origin)


def _columns(source: Source) -> list[tuple[str, str]]:
    """Return the columns that a source reads, each after the setting that names it."""
    return [("text_field", source.text_field), *(("where", name) for name in source.where)]


def _has(value: Any, asked: Any) -> bool:
    return value in asked if isinstance(asked, tuple) else bool(value == asked)


def _parquet_rows(file: Path | hub.HubFile, source: Source) -> Iterator[Document]:
    with _reading_parquet(file, source) as rows:
        names = list(dict.fromkeys(name for _, name in _columns(source)))
        n_before = 0
        # Group by group: asked for all of them at once, the library holds on to more than one.
        for group in range(rows.num_row_groups):
            for batch in rows.iter_batches(batch_size=_PARQUET_ROWS, row_groups=[group], columns=names):
                kept = _kept(batch, source)
                texts = batch.column(source.text_field).take(pa.array(kept, type=pa.int64())).to_pylist()
                for index, text in zip(kept, texts, strict=True):
                    origin = f"{_name(file)} row {n_before + index + 1}"
                    if isinstance(text, str):
                        yield Document(text, origin)
                    elif text is not None or isinstance(file, Path):  # a data set's row without a text is no document
                        held = "nothing" if text is None else type(text).__name__
                        raise InductionError(f"{origin}: column {source.text_field} holds {held}, not text")
                n_before += len(batch)


def _kept(batch: Any, source: Source) -> Sequence[int]:
    """Return the indices of the rows that have the values asked for."""
    if not source.where:
        return range(len(batch))
    rows = zip(*(batch.column(name).to_pylist() for name in source.where), strict=True)
    return [index for index, row in enumerate(rows) if all(map(_has, row, source.where.values()))]


@contextmanager
def _reading_parquet(file: Path | hub.HubFile, source: Source) -> Iterator[Any]:
    """Yield an open Parquet file that has the columns which its source reads."""
    try:
        with (
            _open(file) if isinstance(file, Path) else file.open() as content,
            pq.ParquetFile(content, buffer_size=_PARQUET_BUFFER_BYTES, pre_buffer=False) as rows,
        ):
            columns = rows.schema_arrow.names
            for setting, name in _columns(source):
                if name not in columns:
                    raise InductionError(
                        f"{_name(file)}: no column {name}. Columns: {', '.join(columns)}. "
                        f"Set the source's {setting}.{nearest(name, columns)}"
                    )
            yield rows
    except _READ_ERRORS as error:
        if isinstance(file, Path):
            raise _unreadable(file, error) from None
        raise InductionError(
            f'{file.origin}: truncated or damaged ({error}). Choose another revision, or add "{file.path}" to the '
            "source's exclude."
        ) from None


def _name(file: Path | hub.HubFile) -> str:
    return str(file) if isinstance(file, Path) else file.origin
