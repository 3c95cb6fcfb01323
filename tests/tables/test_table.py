"""A table is typed, checked, whole or absent, and read alike by Polars, DuckDB and pyarrow."""

import duckdb
import numpy as np
import polars as pl
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from induction.errors import InductionError
from induction.tables.losses import LOSSES
from induction.tables.pca import PCA
from induction.tables.phases import PHASES
from induction.tables.schemas import TABLES
from induction.tables.table import model_of


def rows(step, n=4, width=6):
    generator = np.random.default_rng(step)
    return {"step": step, "tokens": step * 10, "example": np.arange(n), "loss": generator.gamma(2.0, size=(n, width))}


@pytest.fixture
def parts(tmp_path):
    paths = [tmp_path / "losses" / f"model={model}" / f"block-{block}.parquet" for model in "ab" for block in range(2)]
    for index, path in enumerate(paths):
        with LOSSES.writer(path, recipe="r1") as writer:
            writer.append(rows(2 * (index % 2)))
            writer.append(rows(2 * (index % 2) + 1))
    return paths


def test_what_is_written_is_read(parts):
    frame = LOSSES.read(parts)
    assert frame.height == 4 * 2 * 4
    assert frame["model"].unique().sort().to_list() == ["a", "b"]
    first = frame.filter(model="a", step=1)["loss"].to_numpy()
    np.testing.assert_array_equal(first, rows(1)["loss"].astype(np.float32))
    assert LOSSES.read(parts[:1], ["step", "model"]).columns == ["step", "model"]


def test_three_programs_read_a_folder_as_one_table(parts):
    folder = parts[0].parents[1]
    expected = LOSSES.read(parts)["loss"].to_numpy().mean()
    by_polars = pl.read_parquet(folder / "**/*.parquet", hive_partitioning=True)
    by_duckdb = duckdb.sql(
        f"select count(*), avg(list_avg(loss)), count(distinct model) from read_parquet('{folder}/*/*.parquet', hive_partitioning=true)"
    ).fetchall()
    by_arrow = pyarrow.dataset.dataset(folder, partitioning="hive").to_table()
    assert by_polars["loss"].to_numpy().mean() == pytest.approx(expected)
    assert by_duckdb == [(32, pytest.approx(expected), 2)]
    assert by_arrow.num_rows == 32
    assert set(by_arrow.column("model").to_pylist()) == {"a", "b"}


def test_the_file_says_what_it_is(parts):
    file = pq.ParquetFile(parts[0])
    footer = file.schema_arrow.metadata
    assert footer[b"induction.table"] == b"losses"
    assert footer[b"induction.recipe"] == b"r1"
    assert footer[b"induction.schema_version"] == b"1"
    column = file.metadata.row_group(0).column(3)
    assert column.compression == "ZSTD"
    assert "BYTE_STREAM_SPLIT" in column.encodings


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loss": np.full((4, 6), -1.0)}, "column loss of table losses holds -1 to -1; permitted: 0 to any"),
        ({"loss": np.full((4, 6), np.nan)}, "column loss of table losses has values that are not finite"),
        ({"step": -1}, "column step"),
        ({"example": [0, 1, None, 3]}, "column example of table losses has 1 empty values"),
    ],
)
def test_a_row_that_breaks_the_declaration_leaves_no_file(change, words, tmp_path):
    path = tmp_path / "model=a" / "p.parquet"

    def write():
        with LOSSES.writer(path) as writer:
            writer.append(rows(0))
            writer.append({**rows(1), **change})

    with pytest.raises(InductionError, match=words):
        write()
    assert list(path.parent.iterdir()) == []


def test_columns_must_be_those_declared(tmp_path):
    with pytest.raises(InductionError, match=r"missing columns \['loss'\], unknown \['los'\]"):
        LOSSES.write(tmp_path / "model=a" / "p", {"step": 0, "tokens": 0, "example": [0], "los": [[1.0]]})


def test_a_table_without_rows_has_its_columns(tmp_path):
    path = tmp_path / "model=a" / "p.parquet"
    with PHASES.writer(path):
        pass
    frame = PHASES.read(path)
    assert frame.height == 0
    assert "start_tokens" in frame.columns


def test_a_table_that_is_not_partitioned_keeps_its_model_column(tmp_path):
    columns = {
        "group": "all",
        "model": ["a"],
        "step": 0,
        "tokens": 0,
        "pc1": 1.0,
        "pc2": 2.0,
        "turn": None,
        "turn_low": None,
        "turn_high": None,
        "pc1_explained": 0.5,
        "pc2_explained": 0.1,
    }
    PCA.write(tmp_path / "pca.parquet", columns)
    assert PCA.read(tmp_path / "pca.parquet", ["model", "pc1"]).rows() == [("a", 1.0)]


def test_truncated_missing_foreign_and_doubled_parts_are_told(parts, tmp_path):
    whole = parts[0].read_bytes()
    for length in (0, 3, len(whole) // 2, len(whole) - 1):
        parts[0].write_bytes(whole[:length])
        with pytest.raises(
            InductionError, match=r"block-0.parquet: not a whole Parquet file.*snakemake .*block-0.parquet"
        ):
            LOSSES.read(parts)
    parts[0].unlink()
    with pytest.raises(InductionError, match=r"block-0.parquet: this part of table losses does not exist"):
        LOSSES.read(parts)
    with pytest.raises(InductionError, match="holds table losses, version 1; table phases, version 1 is needed"):
        PHASES.read(parts[1])
    with pytest.raises(InductionError, match="two rows have the same model, step, example"):
        LOSSES.read([parts[1], parts[1]])
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(InductionError, match="holds table unknown"):
        LOSSES.read(tmp_path / "other.parquet")
    with pytest.raises(InductionError, match="a folder model=NAME"):
        model_of(tmp_path / "x.parquet")


def test_damage_inside_a_part_is_told(parts):
    content = bytearray(parts[0].read_bytes())
    content[200:1200] = bytes(1000)
    parts[0].write_bytes(content)
    with pytest.raises(InductionError, match=r"block-0.parquet"):
        LOSSES.read(parts[0])


def test_every_column_is_explained():
    for table in TABLES.values():
        names = [column.name for column in table.columns]
        assert len(set(names)) == len(names)
        assert set(table.key) - {"model"} <= set(names)
        assert all(column.about.endswith(".") and len(column.about) > 15 for column in table.columns)
