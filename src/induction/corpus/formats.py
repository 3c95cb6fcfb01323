"""Formats of files by suffix or content, and their text: uncompressed and decoded."""

import bz2
import gzip
import io
import json
import lzma
import os
import re
import resource
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EMFILE, ENFILE
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Literal, cast

import pyarrow as pa

from induction.errors import InductionError

Format = Literal["text", "json-lines", "parquet"]

LARGEST_DOCUMENT_BYTES = 1 << 28
"""The largest size of one document, uncompressed: of a text file, a line of JSON, a Parquet cell, or grouped rows."""

_SUFFIXES: dict[Format, str] = {
    "json-lines": ".jsonl .jsonlines .ndjson .ldjson",
    "parquet": ".parquet .pq",
    "text": ".txt .text .md .markdown .mdx .rst .adoc .org .tex .log .srt .toml .ini .cfg .conf .yaml .yml "
    ".py .pyi .pyw .pyx .pxd .ipy .c .h .cc .cpp .cxx .hh .hpp .hxx .cu .cuh .m .mm .cs .fs .fsi .fsx .vb .java .kt "
    ".kts .scala .groovy .gradle .clj .cljs .go .rs .swift .zig .nim .d .js .jsx .mjs .cjs .ts .tsx .vue .svelte .css "
    ".scss .less .php .rb .pl .pm .lua .r .jl .f .for .f90 .f95 .f03 .f08 .hs .lhs .ml .mli .elm .erl .hrl .ex .exs "
    ".el .lisp .lsp .scm .rkt .lean .v .sv .vh .vhd .vhdl .asm .s .sql .sh .bash .zsh .fish .ps1 .bat .awk .sed .vim "
    ".cmake .mk .proto .thrift .graphql",
}
FORMATS: dict[str, Format] = {suffix: kind for kind, listed in _SUFFIXES.items() for suffix in listed.split()}
"""Formats by suffix, in lower case. For .json and for files without a suffix the content decides."""

_BY_CONTENT = ("", ".json")
_PROSE = (".txt", ".text", ".log")  # names that are also given to JSON lines
_PYTHON = (".py", ".pyi", ".pyw")
_KNOWN = "text (.txt, .md, .py and other source code), JSON lines (.jsonl, .ndjson, .json), Parquet (.parquet, .pq)"

_CHUNK_BYTES = 1 << 20
_POINTER_BYTES = 1024  # none is as long
_MOST_EXPANSION = 100  # of a compressed Parquet file, whose columns are compressed already

_POINTERS = {
    b"version https://git-lfs.github.com/spec/": "a pointer of Git LFS, not the file itself. Get that: git lfs pull.",
    b"version https://hawser.github.com/spec/": "a pointer of Git LFS, not the file itself. Get that: git lfs pull.",
    b"# xet version ": "a pointer of git-xet, not the file itself. Get that: git lfs pull.",
    b"/annex/objects/": "a pointer of git-annex, not the file itself. Get that: git annex get.",
}
_CONTENTS = {
    b"\x1f\x8b": "gzip, whose suffix is .gz",
    b"BZh": "bzip2, whose suffix is .bz2",
    b"\xfd7zXZ\0": "xz, whose suffix is .xz",
    b"(\xb5/\xfd": "Zstandard, whose suffix is .zst",
    b"PAR1": "Parquet, whose suffix is .parquet",
    b"PK\x03\x04": "a ZIP archive or an office document",
    b"%PDF-": "PDF",
    b"SQLite format 3\0": "an SQLite database",
}
_MARKS = {  # the longer ones first
    b"\xff\xfe\0\0": "utf-32-le",
    b"\0\0\xfe\xff": "utf-32-be",
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
    b"\xef\xbb\xbf": "utf-8",
}
_NAMES = {"utf-8": "UTF-8", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-32-le": "UTF-32", "utf-32-be": "UTF-32"}


# --- errors -----------------------------------------------------------------------------------------------------

READ_ERRORS = (OSError, EOFError, MemoryError, zlib.error, lzma.LZMAError, pa.ArrowException)


def leave_out(path: PurePath) -> str:
    """Return the sentence that ends an error: how to leave a file out."""
    return f'To leave it out, add "{path.name}" to the source\'s exclude.'


def unreadable(path: Path, error: BaseException) -> InductionError:
    """Return the error for a file that raised one of `READ_ERRORS`."""
    if isinstance(error, OSError) and error.errno in (EMFILE, ENFILE):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return InductionError(
            f"{path}: cannot be opened, because this process may have only {limit} files open. Raise that: ulimit -n."
        )
    if isinstance(error, OSError) and error.strerror:
        return InductionError(f"{path}: cannot be read ({error.strerror}). {leave_out(path)}")
    if isinstance(error, MemoryError):
        return InductionError(f"{path}: its content does not fit into memory. {leave_out(path)}")
    return InductionError(f"{path}: truncated or damaged ({error}). Get the file again. {leave_out(path)}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise errors of reading as one sentence that names the file."""
    try:
        yield
    except READ_ERRORS as error:
        raise unreadable(path, error) from None


def too_large(origin: str) -> InductionError:
    """Return the error for a document larger than `LARGEST_DOCUMENT_BYTES`."""
    return InductionError(
        f"{origin}: larger than one document may be ({LARGEST_DOCUMENT_BYTES:,} bytes uncompressed). Split it into "
        "smaller documents, or add the file to the source's exclude."
    )


# --- which format -----------------------------------------------------------------------------------------------


def format_of(path: Path, stated: Format | None) -> Format:
    """Return a file's format: the stated one, else that of its suffix, else the one its content shows.

    Raises:
        InductionError: the file cannot be read, is a pointer of Git LFS or git-annex, or its format is unknown.
    """
    suffix = suffix_of(path)
    is_told = stated is not None or (suffix in FORMATS and suffix not in _PROSE)
    with reading(path), opened(path) as file:
        head = _read(file, _POINTER_BYTES if is_told else _CHUNK_BYTES)
    for begin, what in _POINTERS.items():
        if head.startswith(begin) and len(head) < _POINTER_BYTES:
            raise InductionError(f"{path}: {what} {leave_out(path)}")
    if stated is not None:
        return stated
    if suffix not in _BY_CONTENT:
        if suffix not in FORMATS:
            raise InductionError(
                f"{path}: unknown suffix {suffix}. Permitted: {_KNOWN}, plain or compressed ({', '.join(_OPENERS)}). "
                f"Convert the file, or set the source's format (text, json-lines or parquet). {leave_out(path)}"
            )
        if suffix in _PROSE and (json_kind := _json_kind(head)):
            raise InductionError(
                f"{path}: the suffix says plain text, but the content is {json_kind}. Set the source's format to "
                f"json-lines or to text. {leave_out(path)}"
            )
        return FORMATS[suffix]
    if head.startswith(b"PAR1"):
        return "parquet"
    json_kind = _json_kind(head)
    if json_kind == _JSON_LINES:
        return "json-lines"
    if json_kind is None and not suffix:
        return "text"
    raise InductionError(
        f"{path}: the content is {json_kind or 'not a JSON object'}; of JSON, only lines of one object each are read. "
        f"Convert the file with jq -c, or set the source's format to text. {leave_out(path)}"
    )


def suffix_of(path: PurePath) -> str:
    """Return a file's suffix in lower case; of a compressed file, the one before that of the compression."""
    packed = path.suffix.lower() in _OPENERS
    return (PurePath(path.stem) if packed else path).suffix.lower()


def is_python(path: PurePath) -> bool:
    """Return whether a file's suffix is one of Python."""
    return suffix_of(path) in _PYTHON


_JSON_LINES = "JSON lines"


def _json_kind(head: bytes) -> str | None:
    """Return in words which JSON a file's first bytes are; None if they are not."""
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            text = head.removeprefix(mark).decode(encoding, "ignore").lstrip()
            break
    else:
        text = head.decode("utf-8", "ignore").lstrip()
    if text.startswith("{"):
        line, newline, _ = text.partition("\n")
        try:
            if isinstance(_loads(line), dict):
                return _JSON_LINES
        except (ValueError, RecursionError):
            if re.match(r'\{\s*"', line) and not newline and len(head) == _CHUNK_BYTES:  # a long line, cut
                return _JSON_LINES
        return "a JSON object of several lines" if re.match(r'\{\s*"', text) else None
    return "a JSON array" if re.match(r'\[\s*\{\s*"', text) else None


def _loads(line: str) -> Any:
    return json.loads(line, parse_int=float)  # no integer is too long


# --- bytes ------------------------------------------------------------------------------------------------------


class _Zstandard(io.RawIOBase):
    """The content of a Zstandard file, as a stream."""

    def __init__(self, path: Path) -> None:
        self._stream = pa.input_stream(os.fspath(path), compression="zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._stream.close()
        super().close()


_OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".lzma": lzma.open,
    ".zst": lambda path: io.BufferedReader(_Zstandard(path)),
}


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read it from the start, decompressed according to its suffix."""
    packed = path.suffix.lower()
    if packed not in _OPENERS:
        with path.open("rb") as plain:
            yield plain
        return
    if not path.stat().st_size:
        raise EOFError("it is empty")
    with _OPENERS[packed](path) as file:
        yield cast(BinaryIO, file)


@contextmanager
def opened_at_any_place(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read it in any order; a compressed one is first decompressed to a temporary file."""
    with opened(path) as file:
        if path.suffix.lower() not in _OPENERS:
            yield file
            return
        most = max(LARGEST_DOCUMENT_BYTES, _MOST_EXPANSION * path.stat().st_size)
        with tempfile.TemporaryFile() as unpacked:
            while piece := file.read(_CHUNK_BYTES):
                if unpacked.tell() + len(piece) > most:
                    raise InductionError(
                        f"{path}: expands to more than {most:,} bytes, too many for a compressed Parquet file. "
                        f"{leave_out(path)}"
                    )
                unpacked.write(piece)
            unpacked.seek(0)
            yield cast(BinaryIO, unpacked)


def _read(file: BinaryIO, n_bytes: int) -> bytes:
    """Read so many bytes, fewer only at the end."""
    pieces, n_read = [], 0
    while n_read < n_bytes and (piece := file.read(min(n_bytes - n_read, _CHUNK_BYTES))):
        pieces.append(piece)
        n_read += len(piece)
    return b"".join(pieces)


# --- text -------------------------------------------------------------------------------------------------------


def text_of(path: Path) -> str:
    """Return the whole text of a file.

    Raises:
        InductionError: it cannot be read, is too large, or is not text.
    """
    with reading(path), opened(path) as file:
        content = _read(file, LARGEST_DOCUMENT_BYTES + 1)
    if len(content) > LARGEST_DOCUMENT_BYTES:
        raise too_large(str(path))
    return decoded(content, str(path), leave_out(path))


def decoded(content: bytes, origin: str, remedy: str) -> str:
    """Decode bytes as UTF-8, or as their byte-order mark says, and remove the mark.

    Raises:
        InductionError: the bytes are not such text, or hold NUL; `remedy` ends the message.
    """
    mark, encoding = next(((mark, name) for mark, name in _MARKS.items() if content.startswith(mark)), (b"", "utf-8"))
    body = memoryview(content)[len(mark) :]
    try:
        text = str(body, encoding)
    except UnicodeDecodeError as error:
        at = len(mark) + error.start
        found = next((f"; its content is {what}" for begin, what in _CONTENTS.items() if content.startswith(begin)), "")
        raise InductionError(
            f"{origin}: not {_NAMES[encoding]} text: byte {at} is 0x{content[at]:02x}{found}. {remedy}"
        ) from None
    if "\0" in text:
        raise InductionError(f"{origin}: not text, but {_binary(content, text, encoding)}. {remedy}")
    return text


def _binary(content: bytes, text: str, encoding: str) -> str:
    at = f"character {text.index(chr(0)) + 1} is NUL"
    if encoding != "utf-8":
        return f"{_NAMES[encoding]} of which {at}"
    sample = content[:4096]
    for first, name in ((1, "UTF-16LE"), (0, "UTF-16BE")):
        if sample[first::2].count(0) > len(sample) // 4 and sample[1 - first :: 2].count(0) <= len(sample) // 8:
            return f"{name} without a byte-order mark, or binary ({at}). Convert it: iconv -f {name} -t UTF-8"
    return f"binary ({at})"


def lines_of(path: Path) -> Iterator[tuple[int, bytes | str]]:
    """Yield numbered lines: as bytes of UTF-8, or as text if a byte-order mark names another encoding.

    Raises:
        InductionError: the file cannot be read, or a line is too large.
    """
    with reading(path), opened(path) as file:
        with opened(path) as beginning:
            head = _read(beginning, 4)
        mark, encoding = next(((mark, name) for mark, name in _MARKS.items() if head.startswith(mark)), (b"", "utf-8"))
        file.read(len(mark))
        lines: Any = file
        if encoding != "utf-8":
            lines = io.TextIOWrapper(file, encoding=encoding, newline="\n")
        number = 0
        try:
            while line := lines.readline(LARGEST_DOCUMENT_BYTES + 1):
                number += 1
                if len(line) > LARGEST_DOCUMENT_BYTES:
                    raise too_large(f"{path}:{number}")
                yield number, line
        except UnicodeDecodeError:
            raise InductionError(
                f"{path}:{number + 1}: not {_NAMES[encoding]} text, which its byte-order mark says. {leave_out(path)}"
            ) from None
