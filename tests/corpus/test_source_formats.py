"""What a source's files are taken for: by suffix, by content, or refused by name."""

import bz2
import gzip
import json
import lzma
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from induction.corpus.sources import documents, pinned
from induction.errors import InductionError
from induction.study.corpora import Corpus, Source
from induction.study.reading import validate

TEXTS = ["one\r\ntwo", "drei é", "四 🙂"]
LINES = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in TEXTS).encode()
COMPRESSORS = {
    "": bytes,
    ".gz": gzip.compress,
    ".BZ2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: pa.compress(content, codec="zstd", asbytes=True),
}


def texts_of(path, **fields):
    source = validate({"files": str(path), **fields}, Source, "models.yaml")
    assert pinned(source) == source
    return [document.text for document in documents(source)]


def refusal(path, **fields):
    with pytest.raises(InductionError) as error:
        texts_of(path, **fields)
    message = str(error.value)
    assert "\n" not in message
    return message


def written(path, content):
    path.write_bytes(content)
    return path


def parquet(**columns):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


# --- which format -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", COMPRESSORS)
@pytest.mark.parametrize("name", ["a.jsonl", "a.JSONL", "a.ndjson", "a.JsonLines", "a.ldjson", "a.json", "a"])
def test_json_lines_under_any_name(tmp_path, name, packed):
    path = written(tmp_path / f"{name}{packed}", COMPRESSORS[packed](LINES))
    assert texts_of(path) == TEXTS
    assert texts_of(path, where={"text": TEXTS[1]}) == [TEXTS[1]]
    rows = LINES.replace(b'{"text"', b'{"g": 1, "text"')
    assert texts_of(written(path, COMPRESSORS[packed](rows)), group_by=["g"]) == ["\n".join(TEXTS)]


@pytest.mark.parametrize("packed", COMPRESSORS)
@pytest.mark.parametrize("name", ["a.parquet", "a.PARQUET", "a.pq", "a"])
def test_parquet_under_any_name(tmp_path, name, packed):
    path = written(tmp_path / f"{name}{packed}", COMPRESSORS[packed](parquet(text=TEXTS)))
    assert texts_of(path) == TEXTS


@pytest.mark.parametrize("packed", COMPRESSORS)
@pytest.mark.parametrize("name", ["a.txt", "A.TXT", "a.md", "a.py", "a.c", "a.R", "README", ".hidden"])
def test_plain_text(tmp_path, name, packed):
    text = 'int main() {"a"};\n'
    assert texts_of(written(tmp_path / f"{name}{packed}", COMPRESSORS[packed](text.encode()))) == [text]


@pytest.mark.parametrize("name", ["a.csv", "a.pdf.gz", "a.tar.gz", "a.dump", "a.html", "a.001", "a.zip", "a.gz.gz"])
def test_an_unknown_suffix_is_refused_unless_the_format_is_stated(tmp_path, name):
    content = b"a,b\n"
    path = written(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content)
    suffix = name.removeprefix("a").removesuffix(".gz") or ".gz"
    message = refusal(path)
    assert f"{name}: unknown suffix {suffix}. Permitted: text (.txt, .md, .py" in message
    assert "set the source's format (text, json-lines or parquet)" in message
    assert f'add "{name}" to the source\'s exclude' in message
    assert texts_of(path, format="text") == ["a,b\n"]


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.json", b'[{"text": "x"}]', "a JSON array"),
        ("a", b'[\n {"text": "x"}]', "a JSON array"),
        ("a.json", b'{\n "text": "x"\n}\n', "a JSON object of several lines"),
        ("a", b'{\n "text": "x"\n}\n', "a JSON object of several lines"),
        ("a.json", b"[1, 2]", "not a JSON object"),
        ("a.json", b"", "not a JSON object"),
    ],
)
def test_json_that_is_no_lines_of_objects(tmp_path, name, content, found):
    path = written(tmp_path / name, content)
    assert f"{name}: the content is {found}; of JSON, only lines of one object each are read." in refusal(path)
    assert texts_of(path, format="text") == [content.decode()]


@pytest.mark.parametrize("name", ["a.txt", "a.log.gz"])
def test_json_lines_that_are_called_text(tmp_path, name):
    path = written(tmp_path / name, gzip.compress(LINES) if name.endswith(".gz") else LINES)
    assert "the suffix says plain text, but the content is JSON lines" in refusal(path)
    assert texts_of(path, format="json-lines") == TEXTS
    assert texts_of(path, format="text") == [LINES.decode()]


def test_a_stated_format_is_part_of_what_a_corpus_is_and_left_out_where_it_is_not_stated():
    assert "format" not in Source(files="a").model_dump(mode="json")
    source = Source(files="a", format="text")
    assert source.model_dump(mode="json")["format"] == "text"
    assert Source.model_validate_json(source.model_dump_json()) == source


# --- settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "setting", "words"),
    [
        ("a.txt", {"where": {"n": 1}}, "a.txt: has no columns for where to ask of: it is plain text"),
        ("a.txt", {"group_by": ["n"]}, "a.txt: has no columns for group_by to ask of: it is plain text"),
        ("a.txt", {"text_field": "body"}, "a.txt: has no columns for text_field to ask of: it is plain text"),
        ("a.txt", {"extract": "docstrings"}, "a.txt: extract: docstrings is about Python files (.py)"),
        ("a.jsonl", {"extract": "docstrings"}, "a.jsonl: extract: docstrings is about Python files, not JSON lines"),
        ("a.parquet", {"extract": "docstrings"}, "a.parquet: extract: docstrings is about Python files, not Parquet"),
        ("a.parquet", {"group_by": ["text"]}, "a.parquet: group_by is about JSON lines, and this is Parquet"),
    ],
)
def test_a_setting_that_does_not_apply_to_a_file(tmp_path, name, setting, words):
    written(tmp_path / "a.txt", b"'''x'''")
    written(tmp_path / "a.jsonl", LINES)
    written(tmp_path / "a.parquet", parquet(text=TEXTS))
    message = refusal(tmp_path / name, **setting)
    assert words in message
    assert f'add "{name}" to the source\'s exclude' in message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"files": "a", "include": ["*.txt"]}, "include belongs to a package or a data set"),
        ({"files": "a", "include": ["*.py"]}, "include belongs to a package or a data set"),
        ({"files": "a", "format": "text", "where": {"n": 1}}, "where is about columns, and format: text has none"),
        ({"files": "a", "format": "text", "text_field": "b"}, "text_field is about columns, and format: text has none"),
        ({"files": "a", "format": "parquet", "group_by": ["b"]}, "group_by is about JSON lines, and format is parquet"),
        ({"files": "a", "extract": "docstrings", "format": "json-lines"}, "extract: docstrings is about Python files"),
        ({"package": "a", "extract": "docstrings", "group_by": ["b"]}, "extract: docstrings is about Python files"),
        ({"hugging_face": "a/b", "revision": "c", "format": "json-lines"}, "only Parquet is read"),
        ({"files": "a", "format": "csv"}, "format: Input should be 'text', 'json-lines' or 'parquet'"),
    ],
)
def test_settings_that_contradict_each_other(fields, words):
    with pytest.raises(InductionError) as error:
        validate(fields, Source, "models.yaml")
    assert words in str(error.value)


def test_a_job_accepts_what_the_study_hands_to_it():
    """Snakemake passes every field, that of `include` beside `files` too."""
    corpus = Corpus(sources=(Source(files="a"), Source(package="b", include=("*.txt",))))
    assert Corpus.model_validate_json(corpus.model_dump_json()) == corpus


# --- encodings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_a_byte_order_mark_says_how_to_read_and_is_removed(tmp_path, encoding, packed):
    pack = COMPRESSORS[packed]
    for text in TEXTS:
        assert texts_of(written(tmp_path / f"a.txt{packed}", pack(text.encode(encoding)))) == [text]
    for name in ("a.jsonl", "a.json"):
        assert texts_of(written(tmp_path / f"{name}{packed}", pack(LINES.decode().encode(encoding)))) == TEXTS
    code = "'''Module.'''\n".encode(encoding)
    assert texts_of(written(tmp_path / f"a.py{packed}", pack(code)), extract="docstrings") == ["Module."]


def test_big_endian_utf_16(tmp_path):
    content = b"\xfe\xff" + "".join(TEXTS).encode("utf-16-be")
    assert texts_of(written(tmp_path / "a.txt", content)) == ["".join(TEXTS)]


def test_a_byte_order_mark_in_a_column_is_removed(tmp_path):
    marked = ["\ufeffa", "b\ufeff"]
    assert texts_of(written(tmp_path / "a.parquet", parquet(text=marked))) == ["a", "b\ufeff"]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in marked)
    assert texts_of(written(tmp_path / "a.jsonl", lines.encode())) == ["a", "b\ufeff"]


@pytest.mark.parametrize("name", ["a.txt", "a.py", "a", "a.jsonl"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_refused_by_name(tmp_path, name, encoding):
    message = refusal(written(tmp_path / name, LINES.decode().encode(encoding)))
    shown = encoding.upper().replace("-16-", "-16")
    assert f"{name}" in message
    assert f"It looks like {shown} without a byte-order mark: convert it with iconv -f {shown} -t UTF-8." in message


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"ab\0", "a.txt: not text: character 3 is NUL."),
        ("a.txt", "привет мир и всем".encode("utf-16-le"), "a.txt: not text: character 14 is NUL."),
        ("a.txt", "é".encode("utf-16") + b"a", "a.txt: not UTF-16 text: byte 4 is 0x61."),
        ("a.jsonl", LINES.decode().encode("utf-16") + b"a", "a.jsonl:4: not UTF-16 text"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xe9"}\n', "a.jsonl:2: not UTF-8 text: byte 10 is 0xe9."),
        ("a.txt", gzip.compress(b"a"), "its content is gzip, whose suffix is .gz."),
        ("a.txt", lzma.compress(b"a"), "its content is xz, whose suffix is .xz."),
        ("a.parquet", b"text", "a.parquet: not a Parquet file: it begins with b'text', and not with b'PAR1'."),
        ("a.txt.gz", b"", "a.txt.gz: truncated or damaged (it is empty)"),
        ("a.txt.zst", COMPRESSORS[".zst"](b"a" * 999)[:-3], "a.txt.zst: truncated or damaged"),
        ("a.txt.zst", b"a", "a.txt.zst: truncated or damaged"),
    ],
)
def test_content_that_is_not_text(tmp_path, name, content, words):
    assert words in refusal(written(tmp_path / name, content))


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.parquet", "a.txt.gz", "a.jsonl.zst", "a"])
@pytest.mark.parametrize(
    ("pointer", "words"),
    [
        (LFS, "a pointer of Git LFS, not the file itself. Get that: git lfs pull."),
        (b"/annex/objects/SHA256E-s5--00.txt\n", "a pointer of git-annex, not the file itself. Get that: git annex get."),
    ],
)  # fmt: skip
def test_a_pointer_to_a_file_is_no_document(tmp_path, name, pointer, words):
    assert f"{name}: {words}" in refusal(written(tmp_path / name, pointer))


def test_a_text_about_pointers_is_one(tmp_path):
    text = LFS + b"So begins a pointer, of which this page is about. " * 30
    assert texts_of(written(tmp_path / "a.md", text)) == [text.decode()]


# --- size and depth ---------------------------------------------------------------------------------------------


@pytest.fixture
def small_limit(monkeypatch):
    monkeypatch.setattr("induction.corpus.formats.LARGEST_DOCUMENT_BYTES", 1000)
    monkeypatch.setattr("induction.corpus.sources.LARGEST_DOCUMENT_BYTES", 1000)


def row(size):
    return json.dumps({"text": "a" * size}).encode() + b"\n"


def test_what_is_as_large_as_permitted(tmp_path, small_limit):
    assert texts_of(written(tmp_path / "a.txt.gz", gzip.compress(b"a" * 1000))) == ["a" * 1000]
    texts = [random.Random(number).randbytes(450).hex() for number in range(20)]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    assert texts_of(written(tmp_path / "a.jsonl.gz", gzip.compress(lines.encode()))) == texts
    assert texts_of(written(tmp_path / "a.parquet", parquet(text=["a" * 1000]))) == ["a" * 1000]


@pytest.mark.parametrize(
    ("name", "content", "fields", "origin"),
    [
        ("a.txt", b"a" * 1001, {}, "a.txt"),
        ("a.txt.gz", gzip.compress(b"a" * 1001), {}, "a.txt.gz"),
        ("a.txt.zst", COMPRESSORS[".zst"](b"a" * 1001), {}, "a.txt.zst"),
        ("a.jsonl.xz", lzma.compress(row(9) + row(1001)), {}, "a.jsonl.xz:2"),
        ("a.jsonl", (LINES + row(1001)).decode().encode("utf-16"), {}, "a.jsonl:4"),
        ("a.parquet", parquet(text=["a", "a" * 1001]), {}, "a.parquet row 2"),
        ("a.jsonl", row(9) + row(600).replace(b"{", b'{"g": 1, ') * 2, {"group_by": ["g"]}, "a.jsonl:2"),
    ],
)
def test_a_document_that_is_too_large(tmp_path, small_limit, name, content, fields, origin):
    if fields:
        content = content.replace(b'{"text"', b'{"g": 2, "text"')
    message = refusal(written(tmp_path / name, content), **fields)
    assert f"{origin}: larger than one document may be (1,000 bytes uncompressed). Split it" in message


def test_a_small_compressed_file_is_not_expanded_without_a_bound(tmp_path, small_limit, monkeypatch):
    """10 MB of one letter are 10 kB: no more than the limit and a part of what is read at a time is expanded."""
    expanded = []
    read = gzip.GzipFile.read
    monkeypatch.setattr("induction.corpus.formats._CHUNK_BYTES", 500)
    monkeypatch.setattr(gzip.GzipFile, "read", lambda *asked: expanded.append(len(got := read(*asked))) or got)
    for name in ("a.txt.gz", "a.parquet.gz"):
        begin = b"PAR1" if "parquet" in name else b""
        refusal(written(tmp_path / name, gzip.compress(begin + b"a" * 10_000_000)))
    assert sum(expanded) < 3_000_000


@pytest.mark.parametrize("packed", [".gz", ".xz", ".zst"])
def test_many_small_rows_in_a_small_file_are_not_all_read(tmp_path, small_limit, packed):
    lines = row(9) * 50_000
    path = written(tmp_path / f"a.jsonl{packed}", COMPRESSORS[packed](lines))
    assert len(lines) > 200 * path.stat().st_size
    assert f"a.jsonl{packed}: expands to more than" in (message := refusal(path))
    assert "200 times its size or more. If that is intended, decompress it first." in message
    assert len(texts_of(written(tmp_path / "a.jsonl", lines))) == 50_000


def nested(depth):
    return b'{"text": "a", "n": ' + b"[" * depth + b"]" * depth + b"}\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (LINES + nested(100_000), "a.jsonl:4: lists or objects are nested too deeply to be read"),
        (LINES + b'{"n": ' + b'{"n": ' * 100_000, "a.jsonl:4: lists or objects are nested too deeply to be read"),
        (b'{"text": ' + b"1" * 5000 + b"}", "a.jsonl:1: field text holds int, not text"),
        (b'{"text": "a", "text": "b"}', "a.jsonl:1: the field text occurs twice in this object."),
        (b'{"text": "a", "text": 1' + b"1" * 5000 + b"}", "a.jsonl:1: the field text occurs twice in this object."),
    ],
)
def test_a_line_that_json_cannot_hold_says_where(tmp_path, content, words):
    assert words in refusal(written(tmp_path / "a.jsonl", content))


def test_lines_that_are_long_or_deep_and_can_be_read(tmp_path):
    lines = nested(500) + b'{"text": "b", "n": -' + b"7" * 5000 + b"}\n" + b'{"text": "c", "n": {"text": 1}, "n": 2}\n'
    assert texts_of(written(tmp_path / "a.jsonl", lines)) == ["a", "b", "c"]
    rows = b"".join(b'{"text": "%d", "n": %s}\n' % (n, b"7" * n) for n in (5000, 5000, 5001))
    assert texts_of(written(tmp_path / "a.jsonl", rows), group_by=["n"]) == ["5000\n5000", "5001"]


@pytest.mark.parametrize(
    ("expression", "line"),
    [
        ("-" * 100_000 + "1", 3),
        ("a" + ".b" * 100_000, 3),
        ("not " * 100_000 + "1", 3),
        ("(" * 1000 + ")" * 1000, 3),
        ("1" + "1" * 5000, 3),
    ],
)
def test_python_that_is_too_deep_names_file_and_line(tmp_path, expression, line):
    path = written(tmp_path / "a.py", f"'''Module.'''\n\nx = {expression}\ny = 1\n".encode())
    message = refusal(path, extract="docstrings")
    assert "a.py: no Python file that has docstrings (" in message
    assert f"line {line})" in message or f"line of {line}" in message
    assert texts_of(path) == [path.read_text()]
