"""Corpora: where text comes from, the vocabulary made from it, and what is kept out of training."""

import glob
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from induction.study.strict import (
    DATA_SET_PATTERN,
    PACKAGE_PATTERN,
    REVISION_PATTERN,
    VERSION_PATTERN,
    AnySeed,
    Line,
    PositiveFloat,
    PositiveInt,
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

_LATER = ("hugging_face", "revision", "where", "max_documents", "max_characters")


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
        description="Glob of text (.txt, .py, .md, …), .jsonl or .parquet files, plain or compressed (.gz, .bz2, .xz).",
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
    text_field: Word = Field("text", description="Column of .jsonl and .parquet files that holds the text.")
    group_by: Several[Word] = Field(
        (),
        description="Fields of .jsonl files: consecutive rows in which these are equal make one document, a line each.",
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
        description="Columns of .jsonl and .parquet files, and the value, or one of the values, that a row must have.",
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
        return self

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Snakemake compares this as JSON: fields that a source does not use must not make its corpus anew.
        return {name: value for name, value in serialize(self).items() if value or name not in _LATER}

    def globbed_files(self) -> list[Path]:
        """Return the files that the glob `files` names and `exclude` leaves, in the order of their names."""
        found = (Path(name) for name in glob.glob(self.files or "", recursive=True))  # noqa: PTH207 (takes any glob)
        return sorted(path for path in found if path.is_file() and not matches(path, self.exclude))


def matches(file: PurePath, patterns: tuple[str, ...]) -> bool:
    """Tell whether a file's name or its whole path matches one of some shell patterns."""
    return any(fnmatchcase(file.name, pattern) or fnmatchcase(file.as_posix(), pattern) for pattern in patterns)


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
    seed: AnySeed = Field(0, description="Decides the order of the documents and which are held out.")

    @model_validator(mode="after")
    def _weights(self) -> Self:
        if len({source.weight is None for source in self.sources}) > 1:
            raise ValueError("give every source a weight, or none")
        return self
