"""One way to write a table and one to read it: typed, checked, whole or absent.

Parquet with zstd; float columns are byte-stream-split. Columns that a folder's name carries (`model=…/`) are not in
the file, so Polars, DuckDB and pyarrow read a folder of parts as one table.

Every page has a checksum (CRC32), and the footer a hash, which lies between the last page and the footer, where other
readers do not look. Both are checked when a table is read.
"""

import hashlib
import json
import os
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from induction import __version__
from induction.errors import InductionError
from induction.files import cannot_read, is_fault_of_system, replacing
from induction.identity import job_identity

Kind = Literal["int64", "int16", "float32", "float64", "string", "bool", "float32[]"]

_FLOATS = ("float32", "float64", "float32[]")


@dataclass(frozen=True)
class Column:
    """A column: its type, what it means, the values it may hold."""

    name: str
    kind: Kind
    about: str
    low: float | None = None
    high: float | None = None
    nullable: bool = False

    def arrow_field(self, size: int) -> pa.Field:
        """Return the Arrow field; `size` is the length of an array column's rows."""
        kind = pa.list_(pa.float32(), size) if self.kind == "float32[]" else getattr(pa, _ARROW[self.kind])()
        return pa.field(self.name, kind, nullable=self.nullable)


_ARROW = {
    "int64": "int64",
    "int16": "int16",
    "float32": "float32",
    "float64": "float64",
    "string": "string",
    "bool": "bool_",
}


@dataclass(frozen=True)
class Table:
    """A table's declaration: what a row is, its key, its columns."""

    name: str
    row: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    version: int = 1
    partitioned: bool = True
    """Whether each model has parts of its own, `TABLE/model=NAME/….parquet`, its name in the path alone."""

    @contextmanager
    def writer(self, path: Path, **provenance: str) -> Iterator["Writer"]:
        """Yield a writer; the table takes its place at `path` when all of it is written, or not at all.

        Args:
            path: the Parquet file.
            provenance: fingerprints and the like, kept in the footer.

        Raises:
            InductionError: a row breaks the declaration, or the disk is full.
        """
        with replacing(path) as temporary:
            with Writer(self, path, temporary, provenance) as writer:
                yield writer
            _seal(temporary)

    def write(self, path: Path, columns: dict[str, Any], **provenance: str) -> None:
        """Write all rows at once; see `writer`."""
        with self.writer(path, **provenance) as writer:
            writer.append(columns)

    def read(self, paths: Path | Sequence[Path], columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Read parts as one frame, checked against the declaration; `model` comes from the parts' folders.

        Raises:
            InductionError: a part is missing, truncated, of another table or of another version.
        """
        frames = [self._read_part(path, columns) for path in ([paths] if isinstance(paths, Path) else paths)]
        if not frames:
            raise InductionError(f"table {self.name}: no parts to read")
        frame = pl.concat(frames)
        present = [name for name in self.key if name in frame.columns]
        if len(present) == len(self.key) and frame.select(present).is_duplicated().any():
            raise InductionError(f"table {self.name}: two rows have the same {', '.join(self.key)} in {paths}")
        return frame

    def empty(self) -> pl.DataFrame:
        """Return the table without rows, `model` included."""
        schema = pa.schema([column.arrow_field(1) for column in self.columns])
        frame = pl.DataFrame(pl.from_arrow(schema.empty_table()))
        return frame.with_columns(pl.lit("").alias("model")) if self.partitioned else frame

    def _read_part(self, path: Path, columns: Sequence[str] | None) -> pl.DataFrame:
        again = remake(path)
        with open_parquet(path, f"part of table {self.name}") as file:
            footer = file.schema_arrow.metadata or {}
            name = footer.get(b"induction.table", b"").decode() or "unknown"
            version = footer.get(b"induction.schema_version", b"0").decode()
            if (name, version) != (self.name, str(self.version)):
                raise InductionError(
                    f"{path}: holds table {name}, version {version}; table {self.name}, version {self.version} "
                    f"is needed. {again}"
                )
            in_path = {"model"} if self.partitioned else set()
            wanted = None if columns is None else [column for column in columns if column not in in_path]
            try:
                arrow = file.read(columns=wanted)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise _unreadable(path, f"part of table {self.name}", "damaged", error) from None
        asked = [column.name for column in self.columns] if wanted is None else wanted
        if missing := [column for column in asked if column not in arrow.column_names]:
            raise InductionError(f"{path}: lacks {', '.join(missing)} of table {self.name}. {again}")
        self._check(arrow, path)
        frame = pl.DataFrame(pl.from_arrow(arrow))
        if self.partitioned:
            frame = frame.with_columns(pl.lit(model_of(path)).alias("model"))
        return frame

    def _check(self, rows: pa.Table, path: Path) -> None:
        declared = {column.name: column for column in self.columns}
        for name in rows.column_names:
            if name not in declared:
                raise InductionError(f"{path}: table {self.name} has no column {name}")
            column, values = declared[name], rows.column(name)
            if not column.nullable and values.null_count:
                raise InductionError(f"{path}: column {name} of table {self.name} has {values.null_count} empty values")
            if column.kind in ("string", "bool"):
                continue
            if column.kind == "float32[]":
                values = values.combine_chunks().flatten()
            numbers = values.drop_null().to_numpy()
            if not len(numbers):
                continue
            if column.kind in _FLOATS and not np.isfinite(numbers).all():
                raise InductionError(f"{path}: column {name} of table {self.name} has values that are not finite")
            low, high = numbers.min(), numbers.max()
            if (column.low is not None and low < column.low) or (column.high is not None and high > column.high):
                raise InductionError(
                    f"{path}: column {name} of table {self.name} holds {low:g} to {high:g}; "
                    f"permitted: {_bound(column.low)} to {_bound(column.high)}"
                )


class Writer:
    """Appends rows to a table that is being written; made by `Table.writer`."""

    def __init__(self, table: Table, path: Path, temporary: Path, provenance: dict[str, str]) -> None:
        self._table, self._path, self._temporary, self._provenance = table, path, temporary, provenance
        self._parquet: pq.ParquetWriter | None = None
        self._schema: pa.Schema | None = None

    def append(self, columns: dict[str, Any]) -> None:
        """Append rows, checked: column -> values (a scalar stands for every row; an array column is [row, index])."""
        declared = [column.name for column in self._table.columns]
        if set(columns) != set(declared):
            missing, unknown = set(declared) - set(columns), set(columns) - set(declared)
            raise InductionError(
                f"table {self._table.name}: missing columns {sorted(missing)}, unknown {sorted(unknown)}"
            )
        n_rows = max((len(values) for values in columns.values() if _is_many(values)), default=1)
        if self._schema is None:
            self._open({name: np.shape(values)[-1] for name, values in columns.items() if np.ndim(values) == 2})
        assert self._schema is not None
        assert self._parquet is not None
        arrays = [_array(columns[field.name], field.type, n_rows) for field in self._schema]
        rows = pa.Table.from_arrays(arrays, schema=self._schema)
        self._table._check(rows, self._path)
        self._parquet.write_table(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Finish the file; a table to which nothing was appended has its columns and no rows."""
        if kind is None and self._schema is None:
            self._open({})
        if self._parquet is not None:
            try:
                self._parquet.close()
            except (pa.ArrowException, OSError):
                if kind is None:  # else it is the first error that counts
                    raise

    def _open(self, sizes: dict[str, int]) -> None:
        fields = [column.arrow_field(sizes.get(column.name, 1)) for column in self._table.columns]
        metadata = {
            "induction.table": self._table.name,
            "induction.schema_version": str(self._table.version),
            "induction.package_version": __version__,
            "induction.row": self._table.row,
            "induction.identity": job_identity(),
            "induction.columns": json.dumps({column.name: column.about for column in self._table.columns}),
            **{f"induction.{name}": value for name, value in self._provenance.items()},
        }
        self._schema = pa.schema(fields, metadata=metadata)
        split = [_leaf(column) for column in self._table.columns if column.kind in _FLOATS]
        plain = [column.name for column in self._table.columns if column.kind not in _FLOATS]
        self._parquet = pq.ParquetWriter(
            self._temporary,
            self._schema,
            compression="zstd",
            compression_level=3,
            use_dictionary=plain,
            use_byte_stream_split=split,
            write_page_checksum=True,
        )


def open_parquet(path: Path, what: str) -> pq.ParquetFile:
    """Open one of this package's Parquet files, with its footer checked; pages are checked when they are read.

    Args:
        path: the file.
        what: what it is, for messages.

    Raises:
        InductionError: it is missing, truncated, cannot be read, or its footer has changed since it was written.
    """
    try:
        _check_footer(path)
        return pq.ParquetFile(path, page_checksum_verification=True)
    except FileNotFoundError:
        raise InductionError(f"{path}: this {what} does not exist. Make it: snakemake {path}") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, what, "not a whole Parquet file (truncated?)", error) from None


_SEAL = b"induction-footer"
_FOOTER_END = struct.Struct("<I4s")  # length of the footer, and the magic number of Parquet


def _seal(path: Path) -> None:
    """Put the hash of a file's footer before it."""
    with path.open("r+b") as file:
        footer, start = _footer(file)
        file.seek(start)
        file.write(_SEAL + hashlib.sha256(footer).digest() + footer)


def _check_footer(path: Path) -> None:
    """See that a footer is the one that was written; one without a hash, of an earlier version, is taken as it is."""
    with path.open("rb") as file:
        footer, start = _footer(file)
        digest = hashlib.sha256(footer).digest()
        file.seek(max(start - len(_SEAL) - len(digest), 0))
        before = file.read(len(_SEAL) + len(digest))
    if before.startswith(_SEAL) and before != _SEAL + digest:
        raise ValueError("the footer has changed since it was written")


def _footer(file: BinaryIO) -> tuple[bytes, int]:
    """Return the footer of a Parquet file, with its length and all that follows, and where it starts."""
    size = file.seek(0, os.SEEK_END)
    if size < _FOOTER_END.size:
        raise ValueError(f"{size} bytes are too few")
    file.seek(size - _FOOTER_END.size)
    length, magic = _FOOTER_END.unpack(file.read())
    start = size - _FOOTER_END.size - length
    if magic != b"PAR1" or start < 0:
        raise ValueError("it does not end as a Parquet file does")
    file.seek(start)
    return file.read(), start


def _unreadable(path: Path, what: str, said: str, error: Exception) -> InductionError:
    """Return the error of a file that is damaged, or that the operating system does not let us read."""
    if isinstance(error, OSError) and is_fault_of_system(error):
        return cannot_read(path, what, error)
    return InductionError(f"{path}: {said}: {str(error).rstrip('.')}. {remake(path)}")


def remake(path: Path) -> str:
    """Return what to do about a file that is damaged or stale."""
    return f"Make it again: rm '{path}' && snakemake '{path}'"


def model_of(path: Path) -> str:
    """Return the model that a part belongs to, from the folder `model=NAME` in its path.

    Raises:
        InductionError: the path has no such folder.
    """
    found = re.findall(r"(?:^|/)model=([^/]+)/", path.as_posix())
    if not found:
        raise InductionError(f"{path}: a part of this table lies in a folder model=NAME")
    return str(found[-1])


def table_of(path: Path) -> str:
    """Return the table that a file is of, from where it lies: TABLE/model=NAME/….parquet, or TABLE.parquet."""
    return path.parent.parent.name if path.parent.name.startswith("model=") else path.stem


def _leaf(column: Column) -> str:
    return f"{column.name}.list.element" if column.kind == "float32[]" else column.name


def _is_many(values: Any) -> bool:
    return isinstance(values, Iterable) and not isinstance(values, str | bytes)


def _array(values: Any, kind: pa.DataType, n_rows: int) -> pa.Array:
    if not _is_many(values):
        values = [values] * n_rows
    if pa.types.is_fixed_size_list(kind):
        flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), kind.list_size)
    return pa.array(values, type=kind, from_pandas=True)


def _bound(value: float | None) -> str:
    return "any" if value is None else f"{value:g}"
