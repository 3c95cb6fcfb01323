"""Corpora: where text comes from, the vocabulary made from it, and what is kept out of training."""

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from induction.study.globs import globbed
from induction.study.strict import (
    DATA_SET_PATTERN,
    PACKAGE_PATTERN,
    REVISION_PATTERN,
    VERSION_PATTERN,
    Line,
    PositiveFloat,
    PositiveInt,
    Seed,
    Several,
    Strict,
)

CORPUS_VERSION = 1
"""Raised by hand when corpora are made differently on purpose: every model is then trained anew."""

Value = (
    Annotated[str, Field(max_length=10_000)]
    | Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
    | Annotated[float, Field(ge=-1e300, le=1e300)]
    | bool
)
Word = Annotated[Line, Field(min_length=1)]
PackageName = Annotated[str, Field(pattern=PACKAGE_PATTERN, max_length=200)]
Version = Annotated[str, Field(pattern=VERSION_PATTERN, max_length=100)]
DataSet = Annotated[str, Field(pattern=DATA_SET_PATTERN, max_length=200)]
Revision = Annotated[str, Field(pattern=REVISION_PATTERN, max_length=255)]

_LATER = ("hugging_face", "revision", "format", "where", "max_documents", "max_characters")


class Source(Strict):
    """Where documents come from: an installed Python package, files of one's own, or a data set of Hugging Face."""

    package: PackageName | None = Field(
        None, description="Name of an installed distribution; each matching file is a document."
    )
    version: Version | None = Field(
        None, description="Version that the package must have; default: whichever is installed."
    )
    files: Word | None = Field(
        None,
        description="Glob of files: plain text (.txt, .md, .py, …), JSON lines (.jsonl, .ndjson, .json) or Parquet "
        "(.parquet), plain or compressed (.gz, .bz2, .xz, .zst). Other suffixes are refused unless `format` is set.",
    )
    format: Literal["text", "json-lines", "parquet"] | None = Field(
        None,
        description="What the files hold, compressed or not; default: what their suffixes say, and of .json and of "
        "files without a suffix what their content shows.",
    )
    hugging_face: DataSet | None = Field(
        None,
        description="Data set of the Hugging Face hub, OWNER/NAME: each row of its Parquet files that has a text is a "
        "document. Only the columns asked for are downloaded, and nothing is kept on disk.",
    )
    revision: Revision | None = Field(
        None,
        description="Of a data set: a commit of 40 digits, which gives the same corpus every time; or a tag or branch, "
        "of which the manifest records the commit.",
    )
    text_field: Word = Field("text", description="Column of JSON lines and Parquet that holds the text.")
    group_by: Several[Word] = Field(
        (),
        description="Fields of JSON lines: consecutive rows in which these are equal make one document, a line each.",
    )
    include: Several[Word] = Field(
        ("*.py",),
        description="Of a package or a data set: file names or paths to take (shell patterns); "
        "default for a data set: *.parquet.",
    )
    extract: Literal["all", "docstrings"] = Field(
        "all",
        description="all: a file's whole text. docstrings: of Python files, those of modules, classes and functions, "
        "in their order, parted by empty lines.",
    )
    exclude: Several[Word] = Field((), description="File names to leave out (shell patterns).")
    where: dict[Word, Value | Several[Value]] = Field(
        {},
        max_length=1000,
        description="Columns of JSON lines and Parquet, and the value, or one of the values, that a row must have. A "
        "number is never equal to text or to true; values that no row has are an error.",
    )
    max_documents: PositiveInt | None = Field(
        None, description="Stop after so many documents, in the order of files and rows, short ones and duplicates too."
    )
    max_characters: PositiveInt | None = Field(
        None, description="Stop after the document that makes so many characters, likewise."
    )
    weight: PositiveFloat | None = Field(
        None, description="Share of the training tokens, relative to the other sources; default: all there is."
    )

    @model_validator(mode="before")
    @classmethod
    def _default_of_data_sets(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("hugging_face"):
            return {"include": ("*.parquet",), **fields}
        return fields

    @field_validator("where", mode="before")
    @classmethod
    def _plain_values(cls, where: Any) -> Any:
        for column, value in where.items() if isinstance(where, dict) else ():
            values = value if isinstance(value, (list, tuple)) else [value]
            if not values or not all(isinstance(one, (str, int, float)) for one in values):
                raise ValueError(f"{column}: give a value (text, a number, true or false) or a list of values")
            if not all(math.isfinite(one) for one in values if isinstance(one, float)):
                raise ValueError(f"{column}: no row can be compared with a number that is not finite")
            kinds = {_kind_of(one): one for one in values}
            if len(kinds) > 1:
                mixed = " and ".join(f"{kind} ({one!r})" for kind, one in kinds.items())
                raise ValueError(
                    f"{column}: values of one list are of one kind, and here are {mixed}. Quote what is meant as text, "
                    "as in 'yes', 'true' or '1900'"
                )
        return where

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(kind is not None for kind in (self.package, self.files, self.hugging_face)) != 1:
            raise ValueError("a source names either a package or files or a data set of hugging_face")
        if self.version is not None and self.package is None:
            raise ValueError("version belongs to a package")
        if self.revision is not None and self.hugging_face is None:
            raise ValueError("revision belongs to a data set of hugging_face")
        if self.hugging_face is not None:
            if self.revision is None:
                raise ValueError(
                    "a data set of hugging_face needs its revision: a commit, which "
                    f"https://huggingface.co/datasets/{self.hugging_face}/commits/main lists, or a tag or branch"
                )
            if self.group_by or self.extract != "all":
                raise ValueError("of a data set of hugging_face each row is a document: no group_by, no extract")
            if self.format not in (None, "parquet"):
                raise ValueError("format: of data sets of hugging_face only Parquet is read")
        # What Snakemake hands to a job names every field; what a person writes names no package beside files.
        written = "include" in self.model_fields_set and "package" not in self.model_fields_set
        if self.files is not None and (written or self.include != ("*.py",)):
            raise ValueError("include belongs to a package or a data set: of files, the glob says which to take")
        columns = [name for name in ("where", "group_by") if getattr(self, name)]
        columns += ["text_field"] if self.text_field != "text" else []
        if self.format == "text" and columns:
            raise ValueError(f"{columns[0]} is about columns, and format: text has none")
        if self.extract != "all" and (columns or self.format in ("json-lines", "parquet")):
            raise ValueError(
                f"extract: {self.extract} is about Python files, and "
                + (f"{columns[0]} about columns" if columns else f"format is {self.format}")
            )
        if self.format == "parquet" and self.group_by:
            raise ValueError("group_by is about JSON lines, and format is parquet")
        return self

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Snakemake compares this as JSON: fields that a source does not use must not make its corpus anew.
        return {name: value for name, value in serialize(self).items() if value or name not in _LATER}

    def globbed_files(self) -> list[Path]:
        """Return the files that the glob `files` names and `exclude` leaves, in the order of their names.

        Raises:
            InductionError: one of them cannot be read or named, or a folder cannot be listed.
        """
        return globbed(self.files or "", lambda path: matches(path, self.exclude))


def _kind_of(value: Value) -> str:
    if isinstance(value, bool):
        return "true or false"
    return "text" if isinstance(value, str) else "numbers"


def matches(file: PurePath, patterns: tuple[str, ...]) -> bool:
    """Tell whether a file's name or its whole path matches one of some shell patterns."""
    return any(fnmatchcase(file.name, pattern) or fnmatchcase(file.as_posix(), pattern) for pattern in patterns)


def unmatched_patterns(patterns: tuple[str, ...], files: Sequence[PurePath]) -> list[str]:
    """Return the shell patterns that match none of some files."""
    return [pattern for pattern in patterns if not any(matches(file, (pattern,)) for file in files)]


class Corpus(Strict):
    """Text, the vocabulary made from it, and what is kept out of training."""

    sources: Several[Source] = Field(min_length=1, description="Where the documents come from.")
    vocab_size: Annotated[int, Field(ge=257, le=2**20)] = Field(
        1024, description="Tokens of the byte-level BPE vocabulary, start token included."
    )
    min_characters: Annotated[int, Field(ge=0, le=10**12)] = Field(
        0, description="Documents shorter than this are left out."
    )
    held_out: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05, description="Share of documents kept for evaluation, chosen by the hash of their text."
    )
    seed: Seed = Field(0, description="Decides the order of the documents and which are held out.")
    max_overlap: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None,
        description="Drop held-out documents of which a larger share occurs in the training text, counted in runs of "
        "50 tokens; default: keep all. Training tokens and vocabulary stay the same.",
    )

    @model_validator(mode="after")
    def _weights(self) -> Self:
        if len({source.weight is None for source in self.sources}) > 1:
            raise ValueError("give every source a weight, or none")
        return self

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if value is not None or name != "max_overlap"}
