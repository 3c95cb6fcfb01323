"""Rows of sources: which values `where` finds, and which types of Parquet columns hold text."""

import base64
import io
import json

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.small_corpora import build
from induction.corpus.sources import documents, pinned
from induction.errors import InductionError
from induction.study.corpora import Source
from induction.study.reading import validate

TEXTS = ["one\r\ntwo", "drei é", "四 🙂", "drei é"]


def texts_of(path, **fields):
    source = validate({"files": str(path), **fields}, Source, "models.yaml")
    return [document.text for document in documents(pinned(source))]


def refusal(path, **fields):
    with pytest.raises(InductionError) as error:
        texts_of(path, **fields)
    return str(error.value)


# --- where ------------------------------------------------------------------------------------------------------

COLUMNS = {
    "text": ["a", "b", "c", "d", "e"],
    "answer": ["yes", "no", "maybe", "yes", "no"],
    "n": [1, 0, 1, 2, None],
    "x": [1.0, 0.0, 2.5, 1.0, 0.0],
    "flag": [True, False, True, None, False],
}


@pytest.fixture(params=["jsonl", "parquet"])
def rows(tmp_path, request):
    if request.param == "parquet":
        pq.write_table(pa.table(COLUMNS), tmp_path / "a.parquet")
    else:
        lines = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]
        (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path / f"a.{request.param}"


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ({"answer": ["yes", "maybe"]}, "acd"),
        ({"flag": True}, "ac"),
        ({"n": 1}, "ac"),
        ({"n": 1.0}, "ac"),
        ({"x": [1, 2.5]}, "acd"),
        ({"answer": "yes", "n": [1, 2]}, "ad"),
        ({"answer": ["maybe", "no"], "flag": True}, "c"),
    ],
)
def test_values_match_values_of_their_kind(rows, where, kept):
    assert "".join(texts_of(rows, where=where)) == kept


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"answer": ["yes", "mabye"]}, "where: answer: no row has the value 'mabye'. Other values found: 'no', 'maybe'. Did you mean maybe?"),
        ({"n": [1, 3, 4]}, "where: n: no row has the value 3 or 4. Other values found: 0, 2, None."),
        ({"answer": ["yes", "oui"], "n": [1, 5]}, "where: answer: no row has the value 'oui'. Other values found: 'no', 'maybe'. where: n: no row has the value 5."),
        ({"flag": 1}, "no row has the values of where: {'flag': 1}."),
        ({"n": True}, "where: n: no row has the value True. Other values found: 1, 0, 2, None."),
        ({"n": "1"}, "1900 is a number, and '1900' is text. where: n: no row has the value '1'."),
    ],
)  # fmt: skip
def test_every_value_that_no_row_has_is_an_error(rows, where, words):
    assert words in refusal(rows, where=where)


def test_it_is_an_error_of_the_corpus_before_anything_is_made_of_it(rows, tmp_path):
    with pytest.raises(InductionError, match=r"corpora\.small\.sources\.0: where: answer: no row has the value 'oui'"):
        build(tmp_path / "corpus", {"files": str(rows), "where": {"answer": ["yes", "oui"]}})
    assert not list((tmp_path / "corpus").glob("*.json"))


def test_values_that_a_part_of_a_source_does_not_have_are_printed(rows, capsys):
    assert texts_of(rows, where={"answer": ["yes", "maybe"]}, max_documents=1) == ["a"]
    assert "where: answer: no row has the value 'maybe'. Reading stopped after 1 documents." in capsys.readouterr().err
    assert texts_of(rows, where={"answer": ["yes", "maybe"]}, max_documents=2) == ["a", "c"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["maybe", True], "answer: values of one list are of one kind, and here are text ('maybe') and true or false (True). Quote"),
        ([1, True], "answer: values of one list are of one kind, and here are numbers (1) and true or false (True). Quote"),
        (["a", 1900], "answer: values of one list are of one kind, and here are text ('a') and numbers (1900). Quote"),
        (float("nan"), "answer: no row can be compared with a number that is not finite"),
        ([1, float("inf")], "answer: no row can be compared with a number that is not finite"),
    ],
)  # fmt: skip
def test_values_that_no_column_can_have_together(values, words):
    with pytest.raises(InductionError) as error:
        validate({"files": "a", "where": {"answer": values}}, Source, "models.yaml")
    assert words in str(error.value)


def test_numbers_may_be_whole_or_not():
    assert Source(files="a", where={"n": [1, 2.5]}).where == {"n": (1, 2.5)}


# --- columns of text --------------------------------------------------------------------------------------------


def of_arrow(column, **how):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"n": list(range(len(column))), "text": column}), sink, **how)
    return sink.getvalue().to_pybytes()


def of_polars(column, **how):
    sink = io.BytesIO()
    pl.DataFrame({"n": range(len(column)), "text": column}).write_parquet(sink, **how)
    return sink.getvalue()


def of_duckdb(tmp_path, kind, how=""):
    path = tmp_path / "of_duckdb.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"create table texts (n integer, text {kind})")
        connection.executemany("insert into texts values (?, ?)", list(enumerate(TEXTS)))
        connection.execute(f"copy texts to '{path}' (format parquet{how})")
    return path.read_bytes()


def with_arrow_type(kind):
    """Write a file whose stored Arrow schema says another type, as other writers than pyarrow store it."""
    schema = pa.schema([("n", pa.int64()), ("text", kind)])
    table = pa.table({"n": list(range(len(TEXTS))), "text": TEXTS})
    stored = {b"ARROW:schema": base64.b64encode(schema.serialize().to_pybytes())}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(stored), sink, store_schema=False)
    return sink.getvalue().to_pybytes()


ENUM = "enum('" + "','".join(sorted(set(TEXTS))) + "')"
HOLD_TEXT = {
    "string": lambda _: of_arrow(pa.array(TEXTS)),
    "large_string": lambda _: of_arrow(pa.array(TEXTS, pa.large_string())),
    "string_view": lambda _: of_arrow(pa.array(TEXTS, pa.string_view())),
    "binary": lambda _: of_arrow(pa.array([text.encode() for text in TEXTS])),
    "large_binary": lambda _: of_arrow(pa.array([text.encode() for text in TEXTS], pa.large_binary())),
    "binary_view": lambda _: of_arrow(pa.array([text.encode() for text in TEXTS], pa.binary_view())),
    "dictionary": lambda _: of_arrow(pa.array(TEXTS).dictionary_encode()),
    "dictionary of large strings": lambda _: of_arrow(pa.array(TEXTS, pa.large_string()).dictionary_encode()),
    "run-end encoded": lambda _: with_arrow_type(pa.run_end_encoded(pa.int32(), pa.string())),
    "dictionary of views": lambda _: with_arrow_type(pa.dictionary(pa.int32(), pa.string_view())),
    "delta": lambda _: of_arrow(pa.array(TEXTS), use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"}),
    "version 2 pages": lambda _: of_arrow(pa.array(TEXTS), data_page_version="2.0", write_page_checksum=True),
    "brotli": lambda _: of_arrow(pa.array(TEXTS), compression="brotli"),
    "Polars string": lambda _: of_polars(pl.Series(TEXTS)),
    "Polars binary": lambda _: of_polars(pl.Series([text.encode() for text in TEXTS])),
    "Polars categorical": lambda _: of_polars(pl.Series(TEXTS, dtype=pl.Categorical)),
    "Polars enum": lambda _: of_polars(pl.Series(TEXTS, dtype=pl.Enum(sorted(set(TEXTS))))),
    "Polars by pyarrow": lambda _: of_polars(pl.Series(TEXTS, dtype=pl.Categorical), use_pyarrow=True),
    "Polars lz4": lambda _: of_polars(pl.Series(TEXTS), compression="lz4"),
    "DuckDB varchar": lambda path: of_duckdb(path, "varchar"),
    "DuckDB enum": lambda path: of_duckdb(path, ENUM),
    "DuckDB version 2": lambda path: of_duckdb(path, "varchar", ", parquet_version v2, compression zstd"),
}


@pytest.mark.parametrize("kind", HOLD_TEXT)
def test_every_type_of_column_that_holds_text(tmp_path, kind):
    content = HOLD_TEXT[kind](tmp_path)
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    assert texts_of(path) == TEXTS
    assert texts_of(path, where={"n": [1, 3]}) == [TEXTS[1], TEXTS[3]]


NO_TEXT = {
    "list": (pa.array([["a"]]), "list<"),
    "large list": (pa.array([["a"]], pa.large_list(pa.string())), "large_list<"),
    "list of views": (pa.array([["a"]], pa.list_(pa.string_view())), "list<"),
    "fixed list": (pa.array([["a"]], pa.list_(pa.string(), 1)), "fixed_size_list<"),
    "struct": (pa.array([{"x": "a"}]), "struct<x: string>"),
    "map": (pa.array([[("x", "a")]], pa.map_(pa.string(), pa.string())), "map<"),
    "fixed binary": (pa.array([b"a"], pa.binary(1)), "fixed_size_binary[1]"),
    "number": (pa.array([1]), "int64"),
}


@pytest.mark.parametrize("kind", NO_TEXT)
def test_a_type_of_column_that_holds_no_text_is_refused_as_that(tmp_path, kind):
    column, words = NO_TEXT[kind]
    pq.write_table(pa.table({"text": column, "body": ["b"]}), tmp_path / "a.parquet")
    message = refusal(tmp_path / "a.parquet")
    assert f"column text holds {words}" in message
    assert "Columns of text: body. Set the source's text_field." in message
    assert "damaged" not in message
    assert texts_of(tmp_path / "a.parquet", text_field="body") == ["b"]


def test_a_column_named_twice(tmp_path):
    table = pa.table([pa.array(["a"]), pa.array(["b"]), pa.array(["c"])], names=["text", "text", "body"])
    pq.write_table(table, tmp_path / "a.parquet")
    assert "a.parquet: 2 columns are called text. Rename all but one." in refusal(tmp_path / "a.parquet")
    assert "2 columns are called text" in refusal(tmp_path / "a.parquet", text_field="body", where={"text": "a"})
    assert texts_of(tmp_path / "a.parquet", text_field="body") == ["c"]


def test_bytes_that_are_not_utf_8_name_their_row(tmp_path):
    pq.write_table(pa.table({"text": [b"a", b"caf\xe9"]}), tmp_path / "a.parquet")
    assert "a.parquet row 2: column text: not UTF-8 text: byte 3 is 0xe9." in refusal(tmp_path / "a.parquet")
    offsets, letters = pa.py_buffer(b"\0\0\0\0\x04\0\0\0"), pa.py_buffer(b"caf\xe9")
    column = pa.Array.from_buffers(pa.string(), 1, [None, offsets, letters])
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    assert "a.parquet row 1: column text is not UTF-8 text: byte 3" in refusal(tmp_path / "a.parquet")


# --- damage, or what is not read --------------------------------------------------------------------------------


def test_a_codec_that_is_not_read_is_no_damage(tmp_path):
    content = bytearray(of_arrow(pa.array(TEXTS), compression="snappy", store_schema=False))
    footer = content.index(b"text", len(content) - 8 - int.from_bytes(content[-8:-4], "little"))
    at = content.rindex(b"text\x15\x02", footer)  # path in schema, then codec 1, Snappy
    content[at + 5] = 6  # codec 3, LZO
    (tmp_path / "a.parquet").write_bytes(content)
    message = refusal(tmp_path / "a.parquet")
    assert f"a.parquet: pyarrow {pa.__version__} cannot read this Parquet file (" in message
    assert "LZO" in message
    assert "damaged" not in message


def test_an_encrypted_file_is_no_damage(tmp_path):
    content = of_arrow(pa.array(TEXTS))
    (tmp_path / "a.parquet").write_bytes(b"PARE" + content[4:-4] + b"PARE")
    assert "cannot read this Parquet file (Could not read encrypted" in refusal(tmp_path / "a.parquet")


def test_a_flipped_bit_is_damage_where_pages_have_checksums(tmp_path):
    texts = ["abcdefgh" * 100]
    content = of_arrow(
        pa.array(texts), write_page_checksum=True, compression="none", use_dictionary=False, write_statistics=False
    )
    at = content.index(b"abcdefghabcdefgh") + 100
    (tmp_path / "a.parquet").write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    assert "a.parquet: truncated or damaged (" in refusal(tmp_path / "a.parquet")
