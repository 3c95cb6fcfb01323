"""Documents in the order of a keyed hash of their text, through files: memory stays bounded whatever the corpus.

Order, held-out membership and duplicates depend on the texts alone. So the order of the sources changes nothing, and
a source that is added moves no document of the others between training and evaluation.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

_N_BUCKETS = 128  # of 10 billion tokens, a bucket holds some 0.3 GB of text
_BUFFER_BYTES = 1 << 18  # of a bucket, before its file is opened and closed: a process may have few files open
_KEY_BYTES = 16
_DRAW_BYTES = 8
_RECORD = struct.Struct("<16sI?Q")  # key, source, held out, bytes of text


@dataclass(frozen=True, slots=True)
class OrderedDocument:
    """A document's text, the number of its source, and whether it is kept out of training."""

    source: int
    held_out: bool
    text: str


class DocumentOrder:
    """Takes documents in any order; then gives each distinct text, in the order of its hash, as often as asked.

    The first byte of the hash picks a bucket, which is a file; a bucket is sorted in memory when its turn comes.
    """

    def __init__(self, folder: Path, held_out: float, seed: int) -> None:
        self._paths = [folder / f"bucket-{number:03d}" for number in range(_N_BUCKETS)]
        self._below = held_out * 2 ** (8 * _DRAW_BYTES)
        self._seed = str(seed).encode()
        self.n_added = 0
        """Documents so far, duplicates among them."""
        self.n_held_out = 0
        """Those among them that are kept out of training."""

    def __enter__(self) -> Self:
        """Empty the buckets to add documents; iterate after the `with` block."""
        self._waiting = [bytearray() for _ in self._paths]
        for path in self._paths:
            path.write_bytes(b"")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            for number in range(_N_BUCKETS):
                self._flush(number)

    def add(self, source: int, text: bytes) -> None:
        """Add a document, as UTF-8."""
        digest = blake2b(text, digest_size=_KEY_BYTES + _DRAW_BYTES, key=self._seed).digest()
        held_out = int.from_bytes(digest[_KEY_BYTES:], "big") < self._below
        number = digest[0] * _N_BUCKETS // 256
        self._waiting[number] += _RECORD.pack(digest[:_KEY_BYTES], source, held_out, len(text))
        self._waiting[number] += text
        if len(self._waiting[number]) >= _BUFFER_BYTES:
            self._flush(number)
        self.n_added += 1
        self.n_held_out += held_out

    def _flush(self, number: int) -> None:
        with self._paths[number].open("ab") as file:
            file.write(self._waiting[number])
        self._waiting[number].clear()

    def __iter__(self) -> Iterator[OrderedDocument]:
        """Yield each distinct text; a text that several sources hold counts as the first one's."""
        for path in self._paths:
            bucket = path.read_bytes()
            previous = None
            for key, source, held_out, start, stop in sorted(_records(bucket)):
                if key != previous:
                    yield OrderedDocument(source, held_out, bucket[start:stop].decode())
                previous = key


def _records(bucket: bytes) -> Iterator[tuple[bytes, int, bool, int, int]]:
    start = 0
    while start < len(bucket):
        key, source, held_out, n_bytes = _RECORD.unpack_from(bucket, start)
        start += _RECORD.size
        yield key, source, held_out, start, start + n_bytes
        start += n_bytes
