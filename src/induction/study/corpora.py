"""Corpora: where text comes from, the vocabulary made from it, and what is kept out of training."""

import glob
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from induction.study.strict import PositiveFloat, Strict

CORPUS_VERSION = 1
"""Raised by hand when corpora are made differently on purpose: every model is then trained anew."""


class Source(Strict):
    """Where documents come from: an installed Python package, or files of one's own."""

    package: str | None = Field(
        None, description="Name of an installed distribution; each matching file is a document."
    )
    version: str | None = Field(
        None, description="Version that the package must have; default: whichever is installed."
    )
    files: str | None = Field(
        None,
        description="Glob of text (.txt, .py, .md, …), .jsonl or .parquet files, plain or compressed (.gz, .bz2, .xz).",
    )
    text_field: str = Field("text", description="Column of .jsonl and .parquet files that holds the text.")
    group_by: tuple[str, ...] = Field(
        (),
        description="Fields of .jsonl files: consecutive rows in which these are equal make one document, a line each.",
    )
    include: tuple[str, ...] = Field(("*.py",), description="Of a package: file names to take (shell patterns).")
    extract: Literal["all", "docstrings"] = Field(
        "all",
        description="all: a file's whole text. docstrings: of Python files, those of modules, classes and functions, "
        "in their order, parted by empty lines.",
    )
    exclude: tuple[str, ...] = Field((), description="File names to leave out (shell patterns).")
    weight: PositiveFloat | None = Field(
        None, description="Share of the training tokens, relative to the other sources; default: all there is."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.package is None) == (self.files is None):
            raise ValueError("a source names either a package or files")
        if self.version is not None and self.package is None:
            raise ValueError("version belongs to a package")
        return self

    def globbed_files(self) -> list[Path]:
        """Return the files that the glob `files` names and `exclude` leaves, in the order of their names."""
        found = (Path(name) for name in glob.glob(self.files or "", recursive=True))  # noqa: PTH207 (takes any glob)
        return sorted(path for path in found if path.is_file() and not matches(path, self.exclude))


def matches(file: PurePath, patterns: tuple[str, ...]) -> bool:
    """Tell whether a file's name or its whole path matches one of some shell patterns."""
    return any(fnmatchcase(file.name, pattern) or fnmatchcase(file.as_posix(), pattern) for pattern in patterns)


class Corpus(Strict):
    """Text, the vocabulary made from it, and what is kept out of training."""

    sources: tuple[Source, ...] = Field(min_length=1, description="Where the documents come from.")
    vocab_size: Annotated[int, Field(ge=257, le=2**20)] = Field(
        1024, description="Tokens of the byte-level BPE vocabulary, start token included."
    )
    min_characters: Annotated[int, Field(ge=0)] = Field(0, description="Documents shorter than this are left out.")
    held_out: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05, description="Share of documents kept for evaluation, chosen by the hash of their text."
    )
    seed: int = Field(0, description="Decides the order of the documents and which are held out.")

    @model_validator(mode="after")
    def _weights(self) -> Self:
        if len({source.weight is None for source in self.sources}) > 1:
            raise ValueError("give every source a weight, or none")
        return self
