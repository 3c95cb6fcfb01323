"""The demo's check sees what is met and what is not; costs add up."""

import polars as pl
import pytest

from induction.analyse.check import as_markdown, check
from induction.analyse.costs import costs
from induction.errors import InductionError
from induction.study.config import ModelFields
from induction.study.study import Model
from induction.tables.ablations import ABLATIONS, SET_ABLATIONS
from induction.tables.curves import CURVES
from induction.tables.heads import HEADS
from induction.tables.phases import PHASES


def model(**fields):
    return Model("m", "f", "l", ModelFields(n_steps=10, **fields), vocab_size=300)


def filled(table, columns):
    """Every column of a table that is not given, empty where it may be and 0 elsewhere."""
    empty = {"string": "", "bool": False}
    rest = {c.name: None if c.nullable else empty.get(c.kind, 0.0) for c in table.columns if c.name not in columns}
    n_rows = max((len(value) for value in columns.values() if isinstance(value, list)), default=1)
    arrays = {c.name: [[0.0]] * n_rows for c in table.columns if c.kind == "float32[]"}
    return {**{name: [value] * n_rows for name, value in rest.items()}, **arrays, **columns}


def write(folder, *, best=0.8, icl=-0.4, window=True, induction=0.3, others=(-0.01, -0.02, 0.5), random=0.1):
    """Tables of a model with one induction head, 1.0, and three others; step 10 is the last."""

    def path(table):
        name = "block-0.parquet" if table in (HEADS, ABLATIONS) else "part.parquet"
        return folder / table.name / "model=m" / name

    logs(folder)

    CURVES.write(
        path(CURVES), filled(CURVES, {"step": [0, 10], "best_prefix_matching": [0.9, best], "icl_windowed": [0.0, icl]})
    )
    span = {"start_tokens": 1e6, "end_tokens": 2e6} if window else {}
    PHASES.write(path(PHASES), filled(PHASES, {"signal": "icl", "found": window, "support": 0.54, **span}))
    heads = {"layer": [1, 0, 0, 0], "head": [0, 1, 2, 3]}
    HEADS.write(path(HEADS), filled(HEADS, {"step": 10, **heads, "prefix_matching": [best, 0.1, 0.1, 0.1]}))
    how = {"step": 10, "norm": "recomputed"}
    rows = {**how, "mode": ["intact", *["pattern-preserving"] * 4], "icl_change": [0.0, induction, *others]}
    rows["replacement"] = ["none", *["zero"] * 4]
    rows |= {name: [None, *values] for name, values in heads.items()} | {"icl_windowed": [icl] * 5}
    ABLATIONS.write(path(ABLATIONS), filled(ABLATIONS, rows))
    sets = {**how, "set_name": ["intact", "induction", "random-induction", "random-induction"], "draw": [0, 0, 0, 1]}
    sets |= {"mode": ["intact", *["pattern-preserving"] * 3], "replacement": ["none", "mean", "mean", "mean"]}
    sets["icl_change"] = [0.0, induction, -0.2, random]
    SET_ABLATIONS.write(path(SET_ABLATIONS), filled(SET_ABLATIONS, sets))
    return folder


def logs(folder, peak=500.0, measuring=1.0):
    """The benchmarks of two jobs, beside the tables."""
    (folder / "train").mkdir(parents=True)
    (folder / "heads").mkdir()
    for stage, seconds in (("train", 2.0), ("heads", measuring)):
        (folder / stage / "m-0.tsv").write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t{peak}\n")


def met(models, folder):
    """What is met, but for the last two requirements, on the jobs of all."""
    return [requirement.met for requirement in check(models, folder, folder)][:-2]


def test_rows_of_the_last_snapshot_that_are_missing_are_named(tmp_path):
    two = [model(n_layers=2, n_heads=2)]
    for table in (HEADS, ABLATIONS):
        folder = write(tmp_path / table.name)
        part = folder / table.name / "model=m/block-0.parquet"
        rows = table.read(part).drop("model")
        columns = rows.with_columns(step=pl.lit(5)).to_dict(as_series=False)
        table.write(part, columns)  # of an earlier snapshot alone
        with pytest.raises(InductionError, match=f"{table.name}/model=m: rows of step 10.* are missing. Make it again"):
            check(two, folder, folder)
        columns = rows.head(rows.height - 1).to_dict(as_series=False)
        table.write(part, columns)  # without the last head
        with pytest.raises(InductionError, match=f"{table.name}/model=m: .* are missing for some heads"):
            check(two, folder, folder)


def test_two_layers(tmp_path):
    two = [model(n_layers=2, n_heads=2)]
    assert met(two, write(tmp_path / "a")) == [True] * 6
    assert met(two, write(tmp_path / "b", best=0.5)) == [False, True, True, True, True, True]
    assert met(two, write(tmp_path / "c", icl=-0.2)) == [True, False, True, True, True, True]
    assert met(two, write(tmp_path / "d", window=False)) == [True, True, False, True, True, True]
    assert met(two, write(tmp_path / "e", induction=0.19)) == [True, True, True, False, True, True]
    assert met(two, write(tmp_path / "f", others=(0.1, 0.1, -0.1))) == [True, True, True, True, False, True]
    assert met(two, write(tmp_path / "g", random=0.4)) == [True, True, True, True, True, False]


def test_one_layer(tmp_path):
    windowed, without = write(tmp_path / "a", best=0.02), write(tmp_path / "b", best=0.2, window=False)
    assert met([model(n_layers=1)], windowed) == [True, False]
    assert met([model(n_layers=1)], without) == [False, True]
    assert met([model(n_layers=1, smeared_keys=True)], windowed) == [True]
    assert met([model(n_layers=1, smeared_keys=True)], without) == [False]
    with pytest.raises(InductionError, match="nothing to check"):
        check([model(n_layers=2, d_mlp=64), model(n_layers=3)], tmp_path, tmp_path)


def test_what_is_not_met_stands_out_and_missing_tables_are_told(tmp_path):
    text = as_markdown(check([model(n_layers=1)], write(tmp_path, best=0.02), tmp_path))
    assert "| m | best prefix matching below 0.1 | 0.020 | yes |" in text
    assert "| all | peak memory of every job below 2,000 MB | 500 MB (heads) | yes |" in text
    assert "| all | all measuring together takes less time than training | 1 s against 2 s | yes |" in text
    assert "| m | no window | 1.00 to 2.00M tokens, in 54% of the resamples | **no** |" in text
    with pytest.raises(InductionError, match=r"curves/model=m/part.parquet: this part of table curves does not exist"):
        check([model(n_layers=1)], tmp_path / "nowhere", tmp_path)


def test_costs_add_up(tmp_path):
    header = "s\th:m:s\tmax_rss\tmax_vms\n"
    for name, seconds, peak in (("train/a-0", 60.5, "500.0"), ("train/a-1", 30.0, "-"), ("pca", 2.0, "300.0")):
        path = tmp_path / f"{name}.tsv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(header + f"{seconds}\t0:01:00\t{peak}\t1.0\n")
    found = costs(tmp_path)
    assert found.filter(stage="train").row(0) == ("train", 2, 90.5, 60.5, 500.0)
    assert found.filter(pl.col("stage") == "pca").row(0) == ("pca", 1, 2.0, 2.0, 300.0)
    with pytest.raises(InductionError, match="no job has run yet"):
        costs(tmp_path / "none")


@pytest.mark.parametrize("content", [b"", b"s\th:m:s\tmax_rss\n", b"s\tmax_rss\nlong\t3\n", b"\xff\x00\n\n", b"a\n1\n"])
def test_a_benchmark_that_is_not_whole_is_passed_over(content, tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train/odd.tsv").write_bytes(content)
    with pytest.raises(InductionError, match="no job has run yet"):
        costs(tmp_path)
    (tmp_path / "train/m-0.tsv").write_text("s\tmax_rss\n2.5\t7\n")
    assert costs(tmp_path).rows() == [("train", 1, 2.5, 2.5, 7.0)]
