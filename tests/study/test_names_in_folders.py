"""A model's name is read back as it is by programs that take it from the folder model=…, or it is refused."""

import string

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from induction.study.study import reads_as_value


def read_by_all(folder, name):
    """Return a model's name as Polars, DuckDB, PyArrow's data sets and pandas' way through PyArrow read it."""
    part = folder / f"model={name}" / "part.parquet"
    part.parent.mkdir(parents=True)
    pq.write_table(pa.table({"step": [1]}), part)
    pattern = str(folder / "*/part.parquet")
    found = {
        "polars": pl.scan_parquet(pattern, hive_partitioning=True, try_parse_hive_dates=True).collect()["model"][0],
        "duckdb": duckdb.sql(f"SELECT model FROM read_parquet('{pattern}', hive_partitioning=true)").fetchall()[0][0],
        "pyarrow": ds.dataset(folder, partitioning="hive").to_table()["model"][0].as_py(),
        "pyarrow.parquet": pq.read_table(folder)["model"][0].as_py(),
    }
    part.unlink()
    part.parent.rmdir()
    return found


@pytest.mark.parametrize("name", ["007", "7", "2024", "1e5", "1.5", "2024-01-01", "20240101"])
def test_a_name_that_some_program_changes_is_refused(tmp_path, name):
    assert any(read != name for read in read_by_all(tmp_path, name).values())
    assert reads_as_value(name)


@pytest.mark.parametrize("name", ["true", "False", "NULL", "nan", "inf", "-", "1_000", "0x1F", "1-2", "12.30", "2024-01-01T10"])  # fmt: skip
def test_what_other_programs_may_change_is_refused(name):
    assert reads_as_value(name)


@pytest.mark.parametrize("name", ["m007", "attn-2l-s0", "7b", "1e5x", "e5", "2024-01-01a", "small", "nano", "1d", "t.1", "T10", "12h"])  # fmt: skip
def test_a_name_with_a_word_in_it_is_read_as_it_is(tmp_path, name):
    assert not reads_as_value(name)
    assert set(read_by_all(tmp_path, name).values()) == {name}


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.sampled_from("0123456789tfneTF"), rest=st.text(alphabet="0123456789-._eEaTfrulstxZ", max_size=9))
def test_every_name_that_is_permitted_is_read_as_it_is(tmp_path, first, rest):
    name = first + rest
    assert set(name) <= set(string.ascii_letters + string.digits + "._-")
    assume(not reads_as_value(name))
    assert set(read_by_all(tmp_path, name).values()) == {name}
