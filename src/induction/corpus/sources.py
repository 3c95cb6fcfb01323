"""The documents of a source: installed Python packages, files by glob, or data sets of the Hugging Face hub."""

import ast
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from importlib import metadata
from itertools import groupby
from numbers import Number
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from induction.corpus import hub
from induction.corpus.formats import (
    LARGEST_DOCUMENT_BYTES,
    READ_ERRORS,
    Format,
    decoded,
    format_of,
    is_python,
    leave_out,
    lines_of,
    opened_at_any_place,
    text_of,
    too_large,
    unreadable,
)
from induction.errors import InductionError, nearest
from induction.study.corpora import Source, Value, matches, unmatched_patterns

_PARQUET_ROWS = 64  # at a time: a row may be a book
_PARQUET_BUFFER_BYTES = 8 << 20  # of a column, and of a request to the hub: a row group may be as large as its file
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_MOST_SHOWN = 10  # values of a column that an error lists


@dataclass(frozen=True, slots=True)
class Document:
    """A text, and the place it was read from: a file, `FILE:LINE` or `FILE row N`."""

    text: str
    origin: str


def pinned(source: Source) -> Source:
    """Return the source with the commit that its revision is now, once what it names is found to be there.

    Every file is opened, so that one that cannot be read is reported before any is read.

    Raises:
        InductionError: a package, file, data set, revision or column is missing, the hub cannot be reached, a file's
            format is unknown, or a setting does not apply to it.
    """
    if source.hugging_face is not None:
        commit = hub.commit_of(source.hugging_face, str(source.revision))
        source = source.model_copy(update={"revision": commit})
        with _reading_parquet(hub.files_of(source)[0], source):
            pass
        return source
    for path in _files(source):
        if _format(path, source) == "parquet":
            with _reading_parquet(path, source):
                pass
    return source


def documents(source: Source) -> Iterator[Document]:
    """Yield a source's documents, files in the order of their names, until the most that are asked for.

    A byte-order mark at the start of a text is removed.

    Args:
        source: of a data set, its revision should be a commit (`pinned`), lest it change while it is read.

    Raises:
        InductionError: nothing matches, no row has a value of `where`, or a file cannot be read in its format.
    """
    n_documents = n_characters = 0
    rows = _Where(source.where)
    for document in _all_documents(source, rows):
        yield document
        n_documents += 1
        n_characters += len(document.text)
        if n_documents == source.max_documents or n_characters >= (source.max_characters or float("inf")):
            if unmatched := rows.unmatched():
                print(f"{unmatched} Reading stopped after {n_documents} documents.", file=sys.stderr, flush=True)
            return
    if source.where and not n_documents:
        raise InductionError(
            f"no row has the values of where: {source.where}. Compare them with those of the columns; "
            f"1900 is a number, and '1900' is text. {rows.unmatched()}".rstrip()
        )
    if unmatched := rows.unmatched():
        raise InductionError(f"{unmatched} Correct the value, or take it out.")


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


def _all_documents(source: Source, rows: "_Where") -> Iterator[Document]:
    if source.hugging_face is not None:
        for file in hub.files_of(source):
            yield from _parquet_rows(file, source, rows)
        return
    for path in _files(source):
        kind = _format(path, source)
        if kind == "json-lines":
            yield from _json_lines(path, source, rows)
        elif kind == "parquet":
            yield from _parquet_rows(path, source, rows)
        elif source.extract == "docstrings":
            yield _docstrings(path)
        else:
            yield Document(text_of(path), str(path))


def _format(path: Path, source: Source) -> Format:
    """Return a file's format, after checking that all settings of its source apply to it."""
    kind = format_of(path, source.format)
    setting = ""
    if kind == "text":
        setting = "where" if source.where else "group_by" if source.group_by else ""
        setting = setting or ("text_field" if source.text_field != "text" else "")
        if setting:
            raise InductionError(f"{path}: has no columns for {setting} to ask of: it is plain text. {leave_out(path)}")
        if source.extract != "all" and not is_python(path):
            raise InductionError(f"{path}: extract: {source.extract} is about Python files (.py). {leave_out(path)}")
    elif source.extract != "all":
        raise InductionError(
            f"{path}: extract: {source.extract} is about Python files, not {_SPELLED[kind]}. {leave_out(path)}"
        )
    elif kind == "parquet" and source.group_by:
        raise InductionError(f"{path}: group_by is about JSON lines, and this is Parquet. {leave_out(path)}")
    return kind


_SPELLED: dict[Format, str] = {"text": "plain text", "json-lines": "JSON lines", "parquet": "Parquet"}


# --- which rows -------------------------------------------------------------------------------------------------


class _Where:
    """Selects the rows that have the values asked for, and records the values that no row has."""

    def __init__(self, where: dict[str, Value | tuple[Value, ...]]) -> None:
        self._asked = {name: value if isinstance(value, tuple) else (value,) for name, value in where.items()}
        self._unmatched = {name: list(values) for name, values in self._asked.items()}
        self._others: dict[str, dict[str, None]] = {name: {} for name in where}

    def keep(self, values: Sequence[Any]) -> bool:
        """Return whether a row, given its values of the columns in their order, has the values asked for."""
        kept = True
        for (name, asked), value in zip(self._asked.items(), values, strict=True):
            found = next((one for one in asked if _is(value, one)), None)
            if found is None:
                kept = False
                if len(self._others[name]) < _MOST_SHOWN:
                    self._others[name][repr(value)[:80]] = None
            elif self._unmatched[name]:
                self._unmatched[name] = [one for one in self._unmatched[name] if not _is(found, one)]
        return kept

    def unmatched(self) -> str:
        """Return in words which values no row has had so far, and other values of their columns."""
        told = []
        for name, values in self._unmatched.items():
            if values:
                others = list(self._others[name])
                hint = nearest(repr(values[0]), others)
                found = f" Other values found: {', '.join(others)}." if others else ""
                told.append(f"where: {name}: no row has the value {' or '.join(map(repr, values))}.{found}{hint}")
        return " ".join(told)


def _is(value: Any, asked: Any) -> bool:
    """Return whether two values are equal and of one kind: 1 equals 1.0, but neither true nor '1'."""
    if isinstance(value, bool) or isinstance(asked, bool):
        return value is asked
    if isinstance(asked, str):
        return isinstance(value, str) and value == asked
    return isinstance(value, Number) and bool(value == asked)


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
    if unmatched := unmatched_patterns(source.include, listed):
        raise InductionError(
            f"package {source.package}: include: none of its {len(listed)} files matches {unmatched[0]}. Correct or "
            "remove it."
        )
    return [Path(str(distribution.locate_file(file))) for file in sorted(matching, key=str)]


def _files(source: Source) -> list[Path]:
    if source.package is not None:
        return _package_files(source)
    files = source.globbed_files()
    if not files:
        without = f" without matching exclude {list(source.exclude)}" if source.exclude else ""
        hint = f". It is a folder: write {source.files}/**/*" if Path(str(source.files)).is_dir() else ""
        raise InductionError(f"no file matches {source.files}{without}. Relative globs start at {Path.cwd()}{hint}")
    return files


# --- what a file holds ------------------------------------------------------------------------------------------


def _docstrings(path: Path) -> Document:
    """Return the docstrings of a Python file."""
    text = text_of(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd escapes in its strings
            tree = ast.parse(text)
            documented = [node for node in ast.walk(tree) if isinstance(node, _DOCUMENTED)]
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise InductionError(
            f"{path}: no Python file that has docstrings ({error.msg}{line}). {leave_out(path)}"
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:
        what = error if isinstance(error, ValueError) else "an expression is nested too deeply for Python's parser"
        raise InductionError(f"{path}: no Python file that has docstrings ({what}). {leave_out(path)}") from None
    documented.sort(key=lambda node: getattr(node, "lineno", 0))
    found = (ast.get_docstring(node) for node in documented)
    return Document("\n\n".join(text for text in found if text), str(path))


def _json_lines(path: Path, source: Source, rows: _Where) -> Iterator[Document]:
    """Yield a document a row, or one of each run of rows that are equal in `group_by`."""
    lines = ((line, f"{path}:{number}") for number, line in lines_of(path) if line.strip())
    kept = (row for line, origin in lines if (row := _json_line(line, source, rows, origin)))
    if not source.group_by:
        yield from (document for _, document in kept)
        return
    for _, group in groupby(kept, key=itemgetter(0)):
        parts: list[Document] = []
        n_characters = 0
        for _, document in group:
            parts.append(document)
            n_characters += len(document.text)
            if n_characters > LARGEST_DOCUMENT_BYTES:
                raise too_large(parts[0].origin)
        yield Document("\n".join(part.text for part in parts), parts[0].origin)


def _json_line(line: bytes | str, source: Source, rows: _Where, origin: str) -> tuple[list[Any], Document] | None:
    """Return the values of a row's fields `group_by`, and its text; nothing of a row that has not the values asked."""
    try:
        line = line if isinstance(line, str) else line.decode()
    except UnicodeDecodeError as error:
        raise InductionError(
            f"{origin}: not UTF-8 text: byte {error.start} is 0x{error.object[error.start]:02x}"
        ) from None
    content = _json(line, origin)
    if not isinstance(content, dict):
        raise InductionError(f"{origin}: a JSON object is needed, and this is {type(content).__name__}")
    for setting, field in (*_columns(source), *(("group_by", name) for name in source.group_by)):
        if field not in content:
            raise InductionError(
                f"{origin}: no field {field}. Fields of this line: {', '.join(content) or 'none'}. "
                f"Set the source's {setting}.{nearest(field, content)}"
            )
        # The line is parsed again only if the key seems to occur twice.
        if line.count(json.dumps(field, ensure_ascii=False)) > 1 and _keys(line, origin).count(field) > 1:
            raise InductionError(f"{origin}: the field {field} occurs twice in this object. Remove one of the two.")
    if not rows.keep([content[field] for field in source.where]):
        return None
    text = content[source.text_field]
    if not isinstance(text, str):
        raise InductionError(f"{origin}: field {source.text_field} holds {type(text).__name__}, not text")
    return [content[name] for name in source.group_by], Document(text.removeprefix("\ufeff"), origin)


def _json(line: str, origin: str, pairs_of_objects: Any = None) -> Any:
    try:
        try:
            return json.loads(line, object_pairs_hook=pairs_of_objects)
        except json.JSONDecodeError:
            raise
        except ValueError:  # an integer of more than 4,300 digits
            return json.loads(line, object_pairs_hook=pairs_of_objects, parse_int=Decimal)
    except ValueError as error:
        raise InductionError(f"{origin}: not a line of JSON ({error})") from None
    except RecursionError:
        raise InductionError(f"{origin}: lists or objects are nested too deeply to be read") from None
    except MemoryError:
        raise InductionError(f"{origin}: the content of this line does not fit into memory") from None


def _keys(line: str, origin: str) -> list[str]:
    """Return all keys of a JSON object, repeated ones too."""
    return [key for key, _ in _json(line, origin, list)]


def _columns(source: Source) -> list[tuple[str, str]]:
    """Return the columns that a source reads, each after the setting that names it."""
    return [("text_field", source.text_field), *(("where", name) for name in source.where)]


# --- Parquet ----------------------------------------------------------------------------------------------------


def _parquet_rows(file: Path | hub.HubFile, source: Source, rows: _Where) -> Iterator[Document]:
    names = list(dict.fromkeys(name for _, name in _columns(source)))
    n_before = 0
    with _reading_parquet(file, source) as content:
        # Group by group: asked for all of them at once, the library holds on to more than one.
        for group in range(content.num_row_groups):
            for batch in content.iter_batches(batch_size=_PARQUET_ROWS, row_groups=[group], columns=names):
                texts = batch.column(source.text_field)
                for index in _kept(batch, source, rows):
                    origin = f"{_name(file)} row {n_before + index + 1}"
                    text = _text_of_cell(texts[index], origin, source.text_field)
                    if text is not None:
                        yield Document(text, origin)
                    elif isinstance(file, Path):  # a data set's row without a text is no document
                        raise InductionError(f"{origin}: column {source.text_field} holds nothing, not text")
                n_before += len(batch)


def _kept(batch: Any, source: Source, rows: _Where) -> Sequence[int]:
    """Return the indices of the rows that have the values asked for."""
    if not source.where:
        return range(len(batch))
    values = zip(*(batch.column(name).to_pylist() for name in source.where), strict=True)
    return [index for index, row in enumerate(values) if rows.keep(row)]


def _text_of_cell(cell: Any, origin: str, column: str) -> str | None:
    """Return a cell's text. For some types of columns, Arrow can select cells only one by one."""
    try:
        text = cell.as_py()
    except UnicodeDecodeError as error:
        raise InductionError(f"{origin}: column {column} is not UTF-8 text: byte {error.start}") from None
    if text is None:
        return None
    if len(text) > LARGEST_DOCUMENT_BYTES:
        raise too_large(origin)
    if isinstance(text, bytes):  # older writers store text without saying so
        return decoded(text, f"{origin}: column {column}", "Set the source's text_field to a column of text.")
    return str(text).removeprefix("\ufeff")


def _holds_text(kind: Any) -> bool:
    """Return whether the values of an Arrow type are texts, or bytes that may be UTF-8."""
    if isinstance(kind, pa.ExtensionType | pa.BaseExtensionType):
        return _holds_text(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _holds_text(kind.value_type)
    return any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_binary_view,
            pa.types.is_null,
        )
    )


@contextmanager
def _reading_parquet(file: Path | hub.HubFile, source: Source) -> Iterator[Any]:
    """Yield an open Parquet file that has the columns which its source reads."""
    try:
        with (
            opened_at_any_place(file) if isinstance(file, Path) else file.open() as content,
            pq.ParquetFile(
                content, buffer_size=_PARQUET_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
            ) as rows,
        ):
            _check_columns(rows.schema_arrow, file, source)
            yield rows
    except (pa.ArrowNotImplementedError, pa.ArrowTypeError, pa.ArrowKeyError, pa.ArrowCapacityError) as error:
        raise _not_readable(file, str(error)) from None
    except READ_ERRORS as error:
        if "encrypted" in str(error):
            raise _not_readable(file, "it is encrypted") from None
        if isinstance(file, Path):
            raise unreadable(file, error) from None
        raise InductionError(
            f'{file.origin}: truncated or damaged ({error}). Choose another revision, or add "{file.path}" to the '
            "source's exclude."
        ) from None


def _not_readable(file: Path | hub.HubFile, why: str) -> InductionError:
    """Return the error for a file that is not damaged, but that pyarrow cannot read."""
    return InductionError(
        f"{_name(file)}: pyarrow {pa.__version__} cannot read this Parquet file ({why}). Rewrite it unencrypted, with "
        f"columns of plain strings, compressed with zstd. {leave_out(_path(file))}"
    )


def _check_columns(schema: Any, file: Path | hub.HubFile, source: Source) -> None:
    columns = schema.names
    for setting, name in _columns(source):
        if name not in columns:
            raise InductionError(
                f"{_name(file)}: no column {name}. Columns: {', '.join(columns)}. "
                f"Set the source's {setting}.{nearest(name, columns)}"
            )
        if columns.count(name) > 1:
            raise InductionError(
                f"{_name(file)}: {columns.count(name)} columns are called {name}. Rename all but one. "
                f"{leave_out(_path(file))}"
            )
    kind = schema.field(source.text_field).type
    if not _holds_text(kind):
        others = [field.name for field in schema if _holds_text(field.type)]
        raise InductionError(
            f"{_name(file)} row 1: column {source.text_field} holds {kind}, not text, as all its rows do. Columns of "
            f"text: {', '.join(others) or 'none'}. Set the source's text_field."
        )


def _name(file: Path | hub.HubFile) -> str:
    return str(file) if isinstance(file, Path) else file.origin


def _path(file: Path | hub.HubFile) -> Path | PurePosixPath:
    return file if isinstance(file, Path) else PurePosixPath(file.path)
