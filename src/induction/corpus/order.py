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
_PENDING_BYTES = (
    1 << 20
)  # of each bucket, in memory until they are written: no file stays open, as few may be permitted
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

    def __enter__(self) -> Self:
        """Empty the buckets to add documents; iterate after the `with` block."""
        for path in self._paths:
            path.write_bytes(b"")
        self._pending = [bytearray() for _ in self._paths]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            for bucket in range(_N_BUCKETS):
                self._write(bucket)

    def add(self, source: int, text: bytes) -> None:
        """Add a document, as UTF-8."""
        digest = blake2b(text, digest_size=_KEY_BYTES + _DRAW_BYTES, key=self._seed).digest()
        held_out = int.from_bytes(digest[_KEY_BYTES:], "big") < self._below
        bucket = digest[0] * _N_BUCKETS // 256
        pending = self._pending[bucket]
        pending += _RECORD.pack(digest[:_KEY_BYTES], source, held_out, len(text))
        pending += text
        if len(pending) >= _PENDING_BYTES:
            self._write(bucket)

    def _write(self, bucket: int) -> None:
        with self._paths[bucket].open("ab") as file:
            file.write(self._pending[bucket])
        self._pending[bucket].clear()

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
