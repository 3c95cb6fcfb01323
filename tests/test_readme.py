"""What the README says is what the code does."""

import ast
import os
import re
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FILL = runpy.run_path(str(ROOT / "docs/fill.py"))


def test_the_tables_are_those_of_the_code():
    """Else: make readme."""
    assert FILL["fill"](README, "tables", FILL["tables"]()) == README


def test_the_rules_of_the_claims_are_those_of_the_code():
    """Else: make readme."""
    page = FILL["RULES"].read_text(encoding="utf-8")
    assert FILL["fill"](page, "rules", FILL["rules"]()) == page


def test_the_table_of_claims_has_the_chance_and_the_window_support_of_each_verdict(tmp_path, monkeypatch):
    from analyse.claims.test_stage import judge, write_parts

    judge(write_parts(tmp_path), tmp_path)
    (tmp_path / "results/tables").mkdir(parents=True)
    (tmp_path / "claims.parquet").rename(tmp_path / "results/tables/claims.parquet")
    monkeypatch.setitem(FILL["claims"].__globals__, "ROOT", tmp_path)
    header, _, *lines = FILL["claims"]().splitlines()
    assert header == "| # | claim | verdict | chance | window support | this study |"
    cells = {int(line.split(" | ")[0].strip("| ")): line.split(" | ") for line in lines}
    assert sorted(cells) == list(range(1, 30))
    assert cells[6][2] == "**supported**"
    assert float(cells[6][3]) < 0.05
    assert [cells[number][4] for number in (2, 6)] == ["1.00", "1.00"]
    assert cells[19][3:5] == ["", ""]


def test_the_plan_on_the_cluster_page_is_that_of_the_code(monkeypatch):
    """Else: make readme."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    page = FILL["CLUSTER"].read_text(encoding="utf-8")
    assert FILL["fill"](page, "plan", FILL["plan"]()) == page


def test_the_benchmark_is_that_of_its_file():
    """Else: python docs/fill.py bench."""
    assert FILL["fill"](README, "bench", FILL["bench"]()) == README


def test_ratios_are_ranges_over_machines_that_are_each_named():
    first = {"ratio": 5.21, "sweep_of_forward": 0.2, "asked_rows_peer": {"ratio": 30.0}, "load": 1.24}
    machines = [
        {"name": "A", "date": "2026-01-01", "seconds": "CPU time", "cases": {"heads": first, "losses": {"ratio": 1.0}}},
        {"name": "B", "date": "2026-02-02", "seconds": "wall time", "cases": {"heads": {"ratio": 3.94}}},
    ]
    table = FILL["bench_tables"](machines).splitlines()
    assert table[2:4] == ["| `heads` | 3.9 to 5.2 | 30.0 | 0.20 |  |  |", "| `losses` | 1.0 |  |  |  |  |"]
    assert table[-2:] == [
        "| A | 2026-01-01, CPU time, load 1.2 | 5.2 | 1.0 |",
        "| B | 2026-02-02, wall time | 3.9 | not measured |",
    ]


def test_measured_parts_are_filled_in():
    for name in ("check", "claims", "costs"):
        inside = re.search(rf"<!-- {name} -->\n(.*)<!-- /{name} -->", README, re.S)
        assert inside[1].startswith("| "), name


def test_every_file_that_is_named_exists():
    for page in (ROOT / "README.md", ROOT / "docs/cluster.md", ROOT / "docs/claims.md"):
        for path in re.findall(r"\]\(([a-zA-Z.][^)#:]*)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / path).exists(), path


def test_every_make_target_and_subcommand_that_is_named_exists():
    from induction.cli import STAGES

    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    for text in (README, FILL["CLUSTER"].read_text(encoding="utf-8")):
        assert set(re.findall(r"`?make ([a-z][a-z-]*)`", text)) <= set(targets)
        assert set(re.findall(r"`induction ([a-z]+)`", text)) <= set(STAGES)


def test_the_queries_are_python():
    for block in re.findall(r"```python\n(.*?)```", README, re.S):
        ast.parse(block)
