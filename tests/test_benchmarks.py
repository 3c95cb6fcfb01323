"""What the benchmark of measuring keeps: several machines' results side by side, each named."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parent / "benchmarks/measure.py"


@pytest.fixture(scope="module")
def benchmark():
    path = list(sys.path)
    spec = importlib.util.spec_from_file_location("benchmark_of_measuring", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


def test_a_machines_results_stand_beside_those_of_others(benchmark, tmp_path):
    path = tmp_path / "measure.json"
    for name, case, ratio in (("A", "heads", 5.0), ("B", "heads", 4.0), ("A", "losses", 1.5), ("A", "heads", 6.0)):
        benchmark.keep(path, name, case, {"ratio": ratio})
    machines = json.loads(path.read_text())["machines"]
    assert [(machine["name"], machine["cases"]) for machine in machines] == [
        ("A", {"heads": {"ratio": 6.0}, "losses": {"ratio": 1.5}}),
        ("B", {"heads": {"ratio": 4.0}}),
    ]
    assert all(machine["seconds"] == "CPU time" and machine["date"] and machine["torch"] for machine in machines)


def test_this_machine_has_a_name(benchmark):
    name, vectors = benchmark.machine().rsplit(", ", 1)
    assert name
    assert vectors


def test_the_results_in_the_repository_name_machine_date_and_clock():
    for machine in json.loads((FILE.parents[2] / "docs/measure.json").read_text())["machines"]:
        assert machine["name"]
        assert machine["date"]
        assert machine["seconds"] in ("CPU time", "wall time")
        assert all(case["ratio"] > 0 for case in machine["cases"].values())
