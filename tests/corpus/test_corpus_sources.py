"""Sources: which files are read, what is taken from them, and what is said when one cannot be read."""

import bz2
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from induction.corpus.sources import describe, documents
from induction.errors import InductionError
from induction.study.corpora import Source
from induction.study.reading import validate

COMPRESSORS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
TEXTS = ["one\r\ntwo", "drei é", "四 🙂"]


def texts_of(**fields):
    return [document.text for document in documents(Source(**fields))]


def parquet(column, name="text"):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({name: column, "other": list(range(len(column)))}), sink)
    return sink.getvalue().to_pybytes()


# --- what a source may be ---------------------------------------------------------------------------------------

DATA_SET = {"hugging_face": "me/books", "revision": "main"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"files": "a", **DATA_SET}, "a source names either a package or files or a data set of hugging_face"),
        ({}, "a source names either a package or files or a data set of hugging_face"),
        ({"hugging_face": "me/books"}, "needs its revision: a commit, which https://huggingface.co/datasets/me/books/commits/main"),
        ({"files": "a", "revision": "main"}, "revision belongs to a data set of hugging_face"),
        ({**DATA_SET, "version": "1"}, "version belongs to a package"),
        ({**DATA_SET, "group_by": ["a"]}, "each row is a document: no group_by, no extract"),
        ({**DATA_SET, "extract": "docstrings"}, "each row is a document: no group_by, no extract"),
        ({"hugging_face": "hf://datasets/me/books", "revision": "main"}, "hugging_face: String should match pattern"),
        ({**DATA_SET, "where": {"language": []}}, "where: language: give a value (text, a number, true or false) or a list"),
        ({**DATA_SET, "where": {"language": None}}, "where: language: give a value (text, a number, true or false) or a list"),
        ({**DATA_SET, "max_documents": 0}, "max_documents: Input should be greater than or equal to 1"),
    ],
)  # fmt: skip
def test_a_source_that_contradicts_itself(fields, words):
    with pytest.raises(InductionError) as error:
        validate(fields, Source, "models.yaml")
    assert words in str(error.value)


def test_a_source_says_nothing_of_fields_that_came_later_and_are_not_used():
    """Snakemake makes a corpus anew when this changes."""
    assert Source(package="numpy").model_dump(mode="json") == {
        "package": "numpy",
        "version": None,
        "files": None,
        "text_field": "text",
        "group_by": [],
        "include": ["*.py"],
        "extract": "all",
        "exclude": [],
        "weight": None,
    }
    source = Source(**DATA_SET, where={"language": ["C", "Go"], "stars": 3, "fork": False}, max_characters=10)
    assert source.include == ("*.parquet",)
    assert Source.model_validate_json(source.model_dump_json()) == source
    assert Source(**DATA_SET, include=["data/*"]).include == ("data/*",)


# --- packages ---------------------------------------------------------------------------------------------------

PACKAGE = {"b.py": "b", "a.py": "a", "sub/c.py": "c", "sub/_made.py": "made", "notes.txt": "notes"}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a distribution `Sample-Text` 1.2 with a script that its installer wrote outside of it."""
    site, info = tmp_path / "lib" / "site", tmp_path / "lib" / "site" / "sample_text-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Sample-Text\nVersion: 1.2\n")
    (info / "RECORD").write_text("".join(f"sample/{name},,\n" for name in [*PACKAGE, "../../bin/run.py"]))
    for name, text in PACKAGE.items():
        (site / "sample" / name).parent.mkdir(parents=True, exist_ok=True)
        (site / "sample" / name).write_text(text)
    monkeypatch.syspath_prepend(str(site))
    return site / "sample"


def test_package_files_are_sorted_included_and_excluded(package):
    assert texts_of(package="sample-text") == ["a", "b", "made", "c"]
    assert texts_of(package="sample-text", exclude=["_made.py"]) == ["a", "b", "c"]
    assert texts_of(package="sample-text", exclude=["sample/sub/*"]) == ["a", "b"]
    assert texts_of(package="sample-text", include=["*.txt", "c.py"]) == ["notes", "c"]
    assert describe(Source(package="sample-text", version="1.2")) == {"package": "sample-text", "version": "1.2"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"package": "sample-txet"}, r"not installed. Install it: pip install sample-txet. Did you mean Sample-Text\?"),
        ({"package": "sample-text", "version": "1.3"}, r"in version 1\.2.*pip install sample-text==1\.3"),
        ({"package": "sample-text", "include": ["*.md"]}, r"none of its 5 files matches include \['\*\.md'\]"),
    ],
)
def test_package_that_cannot_be_read(package, fields, message):
    with pytest.raises(InductionError, match=message):
        texts_of(**fields)


def test_package_with_a_missing_file(package):
    (package / "b.py").unlink()
    with pytest.raises(InductionError, match=r"b\.py: cannot be read \(No such file.*exclude"):
        texts_of(package="sample-text")


# --- files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_every_kind_of_file_gives_the_same_documents(tmp_path, suffix):
    compress = COMPRESSORS[suffix]
    lines = "\n".join(json.dumps({"id": 1, "text": text}) for text in TEXTS) + "\n\n"
    (tmp_path / f"lines.jsonl{suffix}").write_bytes(compress(lines.encode()))
    (tmp_path / f"rows.parquet{suffix}").write_bytes(compress(parquet(TEXTS)))
    for number, text in enumerate(TEXTS):
        (tmp_path / f"text{number}.md{suffix}").write_bytes(compress(text.encode()))
    for pattern in ("*.jsonl*", "*.parquet*", "*.md*"):
        assert texts_of(files=f"{tmp_path}/{pattern}") == TEXTS
    origins = [document.origin for document in documents(Source(files=f"{tmp_path}/*.jsonl*"))]
    assert origins == [f"{tmp_path}/lines.jsonl{suffix}:{number}" for number in (1, 2, 3)]


def test_another_text_field(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"body": "x"}')
    (tmp_path / "b.parquet").write_bytes(parquet(["y"], "body"))
    assert texts_of(files=f"{tmp_path}/*", text_field="body") == ["x", "y"]


def test_consecutive_rows_with_equal_fields_make_one_document(tmp_path):
    rows = [("a", 1, "one"), ("a", 1, "two"), ("a", 2, "three"), ("b", 2, "four"), ("a", 1, "five")]
    lines = [json.dumps({"book": book, "chapter": chapter, "text": text}) for book, chapter, text in rows]
    (tmp_path / "verses.jsonl").write_text("\n".join(lines))
    source = Source(files=f"{tmp_path}/*.jsonl", group_by=("book", "chapter"))
    found = list(documents(source))
    assert [document.text for document in found] == ["one\ntwo", "three", "four", "five"]
    assert [document.origin.rpartition(":")[2] for document in found] == ["1", "3", "4", "5"]
    with pytest.raises(
        InductionError, match=r"verses\.jsonl:1: no field bok\. .*Set the source's group_by\..*mean book"
    ):
        texts_of(files=f"{tmp_path}/*.jsonl", group_by=("bok",))


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ({"language": "Python"}, [0, 3]),
        ({"language": ["Python", "C"], "stars": 7}, [0, 1]),
        ({"stars": [7, 9], "fork": True}, [1, 3]),
        ({"language": "Python", "stars": "7"}, None),
        ({"text": "b"}, [1]),
    ],
)
def test_rows_that_have_the_values_asked_for(tmp_path, where, kept):
    columns = {
        "text": ["a", "b", "c", "d"],
        "language": ["Python", "C", None, "Python"],
        "stars": [7, 7, 7, 9],
        "fork": [False, True, False, True],
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=3)
    for kind in ("jsonl", "parquet"):
        source = Source(files=f"{tmp_path}/*.{kind}", where=where)
        if kept is None:
            with pytest.raises(InductionError, match=r"no row has the values of where: .*1900 is a number, and '1900'"):
                list(documents(source))
            continue
        found = list(documents(source))
        assert [document.text for document in found] == [columns["text"][row] for row in kept]
        assert [document.origin[-1] for document in found] == [str(row + 1) for row in kept], "line or row"
        with pytest.raises(InductionError, match=r"no (field|column) langage\. .*where\. Did you mean language\?"):
            texts_of(files=f"{tmp_path}/*.{kind}", where={"langage": "C"})


def test_a_text_file_has_no_columns(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InductionError, match=r"a\.txt: has no columns for where to ask of.*exclude"):
        texts_of(files=f"{tmp_path}/*", where={"language": "C"})


def test_a_part_of_a_source(tmp_path, package):
    assert texts_of(package="sample-text", max_documents=2) == ["a", "b"]
    for number in range(3):
        (tmp_path / f"{number}.jsonl").write_text('{"text": "1234"}\n{"text": "5678"}')
    files = f"{tmp_path}/*.jsonl"
    assert texts_of(files=files, max_documents=3) == ["1234", "5678", "1234"]
    assert texts_of(files=files, max_characters=9) == ["1234", "5678", "1234"], "the document that reaches it is whole"
    assert texts_of(files=files, max_characters=8) == ["1234", "5678"]
    assert texts_of(files=files, max_characters=8, max_documents=1) == ["1234"]
    (tmp_path / "2.jsonl").write_text("not read")
    assert len(texts_of(files=files, max_documents=4)) == 4


def test_docstrings_alone(tmp_path):
    code = """'''Module.'''

def later():
    return 'no docstring'

class A:
    '''Class,

    then:
        indented.
    '''
    x: int = 0
    '''Of an attribute: none of Python's own.'''

    async def run(self):
        '''Method.'''

def f():
    '''Function.'''
"""
    (tmp_path / "a.py").write_text(code)
    assert texts_of(files=f"{tmp_path}/a.py", extract="docstrings") == [
        "Module.\n\nClass,\n\nthen:\n    indented.\n\nMethod.\n\nFunction."
    ]
    (tmp_path / "b.py").write_text("def (")
    with pytest.raises(InductionError, match=r"b\.py: no Python file that has docstrings .*exclude"):
        texts_of(files=f"{tmp_path}/b.py", extract="docstrings")


def test_globs_descend_and_exclude(tmp_path):
    for name in ("b/2.txt", "a/1.txt", "a/skip.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert texts_of(files=f"{tmp_path}/**/*.txt", exclude=["skip.txt"]) == ["a/1.txt", "b/2.txt"]
    with pytest.raises(InductionError, match=r"no file matches .*\.rst\. Relative globs start at"):
        texts_of(files=f"{tmp_path}/*.rst")
    with pytest.raises(InductionError, match=r"no file matches .* without matching exclude \['2\.txt'\]"):
        texts_of(files=f"{tmp_path}/b/*", exclude=["2.txt"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"caf\xe9", r'a\.txt: not UTF-8 text: byte 3 is 0xe9\. .*add "a\.txt" to the source\'s exclude'),
        (
            "a.jsonl",
            b'{"text": "x"}\n{"tex": 1, "id": 2}',
            r"a\.jsonl:2: no field text\. .*tex, id.*Did you mean tex\?",
        ),
        ("a.jsonl", b'{"text": 3}', r"a\.jsonl:1: field text holds int"),
        ("a.jsonl", b"[1]", r"a\.jsonl:1: a JSON object is needed, and this is list"),
        ("a.jsonl", b"\n{", r"a\.jsonl:2: not a line of JSON"),
        ("a.parquet", parquet(["x"], "content"), r"a\.parquet: no column text\. Columns: content, other"),
        ("a.parquet", parquet(["x", None]), r"a\.parquet row 2: column text holds nothing"),
        ("a.parquet", parquet([1]), r"a\.parquet row 1: column text holds int"),
        ("a.parquet", parquet(TEXTS)[:-9], r"a\.parquet: truncated or damaged"),
        ("a.txt.gz", gzip.compress(b"x" * 99)[:-9], r"a\.txt\.gz: truncated or damaged"),
        ("a.txt.bz2", bz2.compress(b"x" * 99)[:-9], r"a\.txt\.bz2: truncated or damaged"),
        ("a.txt.xz", lzma.compress(b"x" * 99)[:-9], r"a\.txt\.xz: truncated or damaged"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}')[:-9], r"a\.jsonl\.gz: truncated or damaged"),
        ("a.txt.gz", b"not compressed", r"a\.txt\.gz: truncated or damaged"),
        ("a.txt.bz2", b"not compressed", r"a\.txt\.bz2: truncated or damaged"),
        ("a.txt.xz", b"not compressed", r"a\.txt\.xz: truncated or damaged"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_why(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InductionError, match=message):
        texts_of(files=f"{tmp_path}/*")
