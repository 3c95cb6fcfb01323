"""Data sets of the Hugging Face hub as sources, from a local server that stands in for the hub (`local_hub.py`)."""

import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.local_hub import serving
from corpus.small_corpora import build, random_texts
from induction.corpus.sources import describe, documents, pinned
from induction.errors import InductionError
from induction.study.corpora import Source

TEXTS = random_texts(7, 90)
LANGUAGES = ["Python", "C", "Go"] * 30


def parquet(rows_per_group=8, how=None, **columns):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, row_group_size=rows_per_group, **(how or {}))
    return sink.getvalue().to_pybytes()


@pytest.fixture
def hub(monkeypatch):
    """Serve a hub, as HF_ENDPOINT would name it: the library reads that variable when it is imported."""
    with serving() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.endpoint)
        template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", "/nowhere")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
        monkeypatch.setattr("induction.corpus.hub.MOST_RETRIES", 1)
        yield hub


@pytest.fixture
def books(hub):
    """Put a data set of three Parquet files and others there; return its first commit."""
    files = {"README.md": b"# books", "other/c.parquet": parquet(text=["elsewhere"], language=["C"])}
    for number in (2, 1, 0):  # listed in another order than that of the names
        rows = slice(30 * number, 30 * number + 30)
        files[f"data/{number} of 3.parquet"] = parquet(text=TEXTS[rows], language=LANGUAGES[rows])
    return hub.commit("me/books", files, "a")


def books_source(revision="main", **fields):
    return {"hugging_face": "me/books", "revision": revision, "include": ["data/*"], **fields}


def texts_of(source):
    return [document.text for document in documents(pinned(Source(**source)))]


def told(source):
    with pytest.raises(InductionError) as error:
        texts_of(source)
    return str(error.value)


# --- what is read -----------------------------------------------------------------------------------------------


def test_rows_come_in_the_order_of_files_and_rows(hub, books):
    assert texts_of(books_source()) == TEXTS
    assert texts_of(books_source(include=["*.parquet"], exclude=["2 of 3.parquet"])) == [*TEXTS[:60], "elsewhere"]
    assert texts_of({"hugging_face": "me/books", "revision": books}) == [*TEXTS, "elsewhere"]
    last = list(documents(Source(**books_source(books))))[-1]
    assert last.origin == f"hf://datasets/me/books@{books}/data/2 of 3.parquet row 30"


def test_the_same_rows_from_the_hub_and_from_disk_make_the_same_corpus(hub, books, tmp_path):
    for path, content in hub.commits["me/books"][books].items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    where = {"where": {"language": ["Python", "C"]}, "max_documents": 50}
    from_disk = build(tmp_path / "disk", {"files": f"{tmp_path}/data/*.parquet", **where})
    from_hub = build(tmp_path / "hub", books_source(**where))
    assert from_hub["fingerprint"] == from_disk["fingerprint"]
    (of_hub,), (of_disk,) = from_hub["sources"], from_disk["sources"]
    assert (of_hub["hugging_face"], of_hub["revision"]) == ("me/books", books)
    assert of_hub["sha256"] == of_disk["sha256"]
    assert of_hub["n_documents"] + of_hub["n_held_out_documents"] == 50


def test_a_commit_stays_what_it_was_and_a_branch_moves(hub, books, tmp_path):
    before = build(tmp_path / "before", books_source(books))
    after = hub.commit("me/books", {"data/0.parquet": parquet(text=random_texts(8, 80))}, "b")
    assert build(tmp_path / "again", books_source(books)) == before
    moved = build(tmp_path / "moved", books_source("main"))
    assert moved["sources"][0]["revision"] == after
    assert moved["fingerprint"] != before["fingerprint"]


def test_a_branch_that_moves_while_it_is_read_is_read_at_one_commit(hub, books):
    source = pinned(Source(**books_source("main")))
    reading = documents(source)
    first = next(reading).text
    hub.commit("me/books", {"data/0.parquet": parquet(text=["other"])}, "b")
    assert [first, *(document.text for document in reading)] == TEXTS
    assert describe(source) == {"hugging_face": "me/books", "revision": books}


def test_rows_without_a_text_are_no_documents(hub):
    hub.commit("me/gaps", {"a.parquet": parquet(text=["one", None, "three"])}, "a")
    assert texts_of({"hugging_face": "me/gaps", "revision": "main"}) == ["one", "three"]


def test_another_process_reads_the_endpoint_and_the_token_from_the_environment(hub, books, tmp_path):
    hub.gated.add("me/books")
    program = (
        "import sys, pathlib, corpus.small_corpora as s;"
        "s.build(pathlib.Path(sys.argv[1]), {'hugging_face': 'me/books', 'revision': 'main', 'include': ['data/*']})"
    )
    variables = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_secret", "OMP_NUM_THREADS": "3"}
    variables.pop("RAYON_NUM_THREADS", None)
    there, here = tmp_path / "there", tmp_path / "here"
    tests = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", program, there], check=True, cwd=tests, env=variables)
    tokens = {(host, token) for host, path, token in hub.requests if "me/books" in path}
    assert tokens == {("127.0.0.1", "Bearer hf_secret"), ("localhost", None)}, "the storage is another's"
    hub.gated.clear()
    build(here, books_source())
    files = {path.name for path in here.iterdir()}
    assert {path.name for path in there.iterdir()} == files
    assert all((here / name).read_bytes() == (there / name).read_bytes() for name in files)


# --- what is downloaded -----------------------------------------------------------------------------------------

FOOTER_BYTES = 65536  # the library reads the end of a file before it knows how long the footer is


def test_a_column_that_is_not_asked_for_is_not_downloaded(hub):
    junk = [np.random.default_rng(row).bytes(100_000) for row in range(30)]
    content = parquet(text=TEXTS[:30], junk=junk)
    hub.commit("me/wide", {"a.parquet": content}, "a")
    assert texts_of({"hugging_face": "me/wide", "revision": "main"}) == TEXTS[:30]
    n_text_bytes = sum(len(text) for text in TEXTS[:30])
    assert hub.n_bytes("a.parquet") < 2 * FOOTER_BYTES + 2 * n_text_bytes < len(content) / 10


def test_a_row_group_as_large_as_its_file_is_read_in_parts(hub, monkeypatch):
    monkeypatch.setattr("induction.corpus.sources._PARQUET_BUFFER_BYTES", 100_000)
    rng = np.random.default_rng(0)
    texts = [rng.bytes(5000).hex() for _ in range(600)]
    in_pages = {"use_dictionary": False, "write_batch_size": 8, "data_page_size": 80_000}
    content = parquet(600, in_pages, text=texts)
    hub.commit("me/large", {"a.parquet": content}, "a")
    reading = documents(Source(hugging_face="me/large", revision="main"))
    assert next(reading).text == texts[0]
    assert hub.n_bytes("a.parquet") < len(content) / 2
    assert [document.text for document in reading] == texts[1:]
    assert max(last - first for _, first, last in hub.ranges) <= 2 * 100_000


@pytest.mark.parametrize("most", [{"max_documents": 31}, {"max_characters": sum(map(len, TEXTS[:31]))}])
def test_no_file_is_touched_after_the_most_that_are_asked_for(hub, books, most):
    assert texts_of(books_source(**most)) == TEXTS[:31]
    assert {path for path, _, _ in hub.ranges} == {"data/0 of 3.parquet", "data/1 of 3.parquet"}


def test_the_storage_is_asked_for_by_its_address_until_that_runs_out(hub, books):
    assert texts_of(books_source()) == TEXTS
    n_resolved = sum(path.startswith("/datasets/") for _, path, _ in hub.requests)
    assert n_resolved == 1 + 3 < len(hub.ranges), "one a file that is opened, and one for the columns"
    reading = documents(Source(**books_source()))
    first = next(reading).text
    hub.n_to_expire = 1
    assert [first, *(document.text for document in reading)] == TEXTS
    assert hub.n_to_expire == 0


# --- what goes wrong --------------------------------------------------------------------------------------------


def test_a_connection_that_breaks_in_the_middle_is_taken_up_again(hub, books, tmp_path):
    whole = build(tmp_path / "whole", books_source())
    hub.n_to_drop = 1
    assert build(tmp_path / "broken", books_source()) == whole
    assert hub.n_to_drop == 0


def test_a_storage_that_breaks_for_good_is_told(hub, books):
    reading = documents(Source(**books_source(books)))
    next(reading)
    hub.broken = 503
    with pytest.raises(InductionError, match=rf"data set me/books, revision {books}: localhost:\d+ answered 503\. Try"):
        list(reading)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"hugging_face": "me/boks"}, "data set me/boks, revision main: http://127.0.0.1:{port} has no such data set"),
        ({"revision": "v2"}, "revision v2: there is no such revision. Correct the source's revision; http"),
        ({"include": ["train/*"]}, "none of its 5 files matches include ['train/*']. Kinds of files there: .md, .parquet"),
        ({"include": ["*"]}, "README.md is included, and only Parquet is read from the hub. Narrow the source's include"),
        ({"text_field": "txt"}, "0 of 3.parquet: no column txt. Columns: text, language. Set the source's text_field. Did you mean text?"),
        ({"where": {"lang": "C"}}, "0 of 3.parquet: no column lang. Columns: text, language. Set the source's where. Did you mean language?"),
        ({"where": {"language": "python"}}, "no row has the values of where: {{'language': 'python'}}"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told(hub, books, fields, words):
    port = hub.endpoint.rpartition(":")[2]
    assert words.format(port=port) in told(books_source(**fields))


def test_a_data_set_that_asks_for_consent(hub, books, monkeypatch):
    hub.gated.add("me/books")
    message = told(books_source())
    assert (
        f"Accept the terms at {hub.endpoint}/datasets/me/books, then log in (hf auth login) or set HF_TOKEN" in message
    )
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert texts_of(books_source()) == TEXTS


def test_a_truncated_file(hub):
    content = parquet(text=TEXTS)
    hub.commit("me/cut", {"a/b.parquet": content[:-9]}, "c")
    message = told({"hugging_face": "me/cut", "revision": "main"})
    assert f"hf://datasets/me/cut@{'c' * 40}/a/b.parquet: truncated or damaged" in message
    assert 'add "a/b.parquet" to the source\'s exclude' in message


def test_no_network(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    message = told(books_source())
    assert "data set me/books, revision main: http://127.0.0.1:1 cannot be reached" in message
    assert "make the corpus on one that has" in message


def test_a_hub_that_does_not_serve_ranges(hub, books):
    hub.whole = True
    assert "127.0.0.1" in (message := told(books_source()))
    assert "does not serve parts of files. Set HF_ENDPOINT to one that does" in message


def test_a_wrong_source_is_told_before_another_is_read(hub, books, tmp_path):
    with pytest.raises(InductionError, match=r"corpora\.small\.sources\.1: data set me/none, revision main: .*no such"):
        build(tmp_path / "corpus", books_source(), {"hugging_face": "me/none", "revision": "main"})
    assert hub.n_bytes("data/1 of 3.parquet") == 0
