"""The check of a GPU, in its dry run: every section on the CPU, and what it does of faults that are planted."""

import json
import math
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from induction.study.analysis import Heads
from induction.study.placement import place, training_flops
from induction.study.site import Node, Site, Slurm, Speed

HERE = Path(__file__).parent
sys.path.append(str(HERE))  # check.sh puts the script's own folder there

import check  # noqa: E402
import sections  # noqa: E402
import tolerances  # noqa: E402

SECTIONS = ["peak", "agreement", "training", "speed", "chunks", "memory", "phase_change"]
SCORES = ["prefix_matching", "previous_token", "copying", "copying_literal", "ov_copying", "qk_trace"]
SCORES += ["k_composition", "q_composition", "v_composition"]
KINDS = ["paper's small shape", "MLPs", "smeared keys, local heads", "rotary"]


def run_check(out, *options):
    """Run the dry run; return its exit status, its JSON and what it printed."""
    command = [HERE / "check.sh", "--device", "cpu", "--quick", "--out", out, *options]
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.returncode, json.loads(out.read_text(encoding="utf-8")), done.stdout + done.stderr


def rows_of(found, section):
    return {row["what"]: row for row in found["sections"][section]["rows"]}


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory):
    return run_check(tmp_path_factory.mktemp("check") / "check.json")


def test_every_section_runs_and_passes(dry_run):
    status, found, said = dry_run
    assert (status, found["failures"]) == (0, []), said
    assert list(found["sections"]) == SECTIONS
    assert found["whole"] is True
    for name, section in found["sections"].items():
        assert (section["status"], section["passed"]) == ("done", True), name
        assert section["rows"], name
        for row in section["rows"]:
            assert math.isfinite(row["value"]), row
            assert row["what"] in said


def test_numbers_agree_within_what_rounding_permits(dry_run):
    rows = rows_of(dry_run[1], "agreement")
    compared = ["losses", "losses without a head, patterns kept", "losses without a head, full", *SCORES]
    assert list(rows) == [f"{kind}: {what}, greatest difference" for kind in KINDS for what in compared]
    for what, row in rows.items():
        assert 0 <= row["value"] <= row["at_most"] < 0.01, what
    # The other side of the dry run rounds otherwise: it is another computation.
    assert any(row["value"] > 0 for row in rows.values())


def test_training_agrees_step_by_step_in_both_types(dry_run):
    rows = rows_of(dry_run[1], "training")
    assert rows["on the CPU: losses fall by"]["value"] >= 0.5
    judged = {what.split(":")[0]: row for what, row in rows.items() if "worst at step" in what}
    assert set(judged) == {"float32", "bfloat16"}
    for row in judged.values():
        assert 0 < row["value"] <= row["at_most"] < 0.05


def test_the_site_file_can_take_over_what_is_measured(dry_run):
    found = dry_run[1]
    kept = {name: section["kept"] for name, section in found["sections"].items()}
    speed = Speed(**found["site"]["speed"])
    peak = kept["peak"]["bf16_flops"]
    assert speed.training_utilisation == pytest.approx(min(1, kept["speed"]["full-scale flops"] / peak), rel=0.01)
    assert speed.measuring_utilisation == pytest.approx(min(1, kept["chunks"]["measuring_flops"] / peak), rel=0.01)
    assert found["site"]["node"]["peak_tflops"] == pytest.approx(peak / 1e12, rel=0.01)
    node = Node(ranks=1, cpus=1, memory_gb=8, accelerator="cpu", **found["site"]["node"])
    assert Site(slurm=Slurm(gpu_partition="a", cpu_partition="b"), node=node, speed=speed).rank_peak_flops > 0


def test_chunks_memory_and_the_phase_change_are_measured(dry_run):
    found = dry_run[1]
    chunks = found["sections"]["chunks"]["kept"]
    assert {chunks[f"{stage} best factor"] for stage in ("losses", "heads", "ablations")} <= {1, 4}
    memory = rows_of(found, "memory")
    for shape in ("small", "full-scale"):
        assert 0.3 < memory[f"{shape}: training, of what the plan says"]["value"] <= 1.12
    for kind in ("smeared keys", "plain keys"):
        looks = found["sections"]["phase_change"]["kept"][f"{kind}: looks"]
        assert [look["step"] for look in looks] == [0, 10, 20]
        assert looks[-1]["loss"] < looks[0]["loss"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    plants = ["agreement=disagreement", "training=disagreement", "chunks=crash", "memory=hang"]
    options = [f"--plant={plant}" for plant in plants]
    only = ["peak", "agreement", "training", "chunks", "memory"]
    out = tmp_path_factory.mktemp("planted") / "check.json"
    return run_check(out, *options, "--budget", "memory=20", "--only", *only)


def test_a_planted_disagreement_fails_the_check(planted):
    """Weights rounded as TF32 rounds them; a learning rate of 1.3 times the recipe's."""
    status, found, said = planted
    assert status == 1
    agreement, training = rows_of(found, "agreement"), rows_of(found, "training")
    for kind in KINDS:
        row = agreement[f"{kind}: losses, greatest difference"]
        assert row["passed"] is False
        assert row["value"] > row["at_most"]
    for what, row in training.items():
        if "worst at step" in what:
            assert row["passed"] is False, what
    assert any(failure.startswith("agreement: MLPs: losses, greatest") for failure in found["failures"])
    assert "FAILED" in said


def test_a_crash_and_a_hang_leave_the_other_sections_alone(planted):
    found = planted[1]
    assert found["sections"]["peak"]["passed"] is True
    crashed, hung = (found["sections"][name] for name in ("chunks", "memory"))
    assert (crashed["status"], crashed["passed"]) == ("crashed", False)
    assert "RuntimeError: planted" in crashed["error"]
    assert (hung["status"], hung["passed"]) == ("out of time", False)
    assert found["whole"] is False


def test_what_is_found_is_written_as_it_goes(tmp_path):
    """Killed in the middle of a section, the check leaves the rows of that section behind."""
    out = tmp_path / "check.json"
    command = [sys.executable, HERE / "check.py", "--device", "cpu", "--quick", "--out", out, "--only", "agreement"]
    places = [HERE.parents[1] / "src", HERE.parent]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as running:
        found = {}
        while running.poll() is None and not found.get("sections", {}).get("agreement", {}).get("rows"):
            time.sleep(0.2)
            found = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
        running.send_signal(signal.SIGINT)
    assert found["sections"]["agreement"]["status"] == "running"
    assert found["sections"]["agreement"]["rows"][0]["what"].startswith(KINDS[0])
    assert json.loads(out.read_text(encoding="utf-8"))["whole"] is False


# --- what it does before it starts ---------------------------------------------------------------------------------


def test_missing_modules_are_named():
    command = [sys.executable, "-S", HERE / "check.py"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert "lacks torch, numpy, pydantic, pydantic_core" in done.stderr
    assert "--wheels FOLDER" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="where there is a GPU the check would run on it")
def test_without_a_gpu_it_names_the_dry_run(tmp_path):
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(
        [HERE / "check.sh"], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == 2
    assert "sees no GPU" in done.stderr
    assert "--device cpu --quick" in done.stderr
    assert not list(tmp_path.iterdir())


def test_wheels_come_before_what_is_installed(tmp_path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "planted-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("planted_module/__init__.py", "")
    shown = tmp_path / "python"
    shown.write_text(
        f'#!/bin/sh\ncase "$1" in -m) exec {sys.executable} "$@";; esac\nIFS=:\nls $PYTHONPATH\necho "$@"\n',
        encoding="utf-8",
    )
    shown.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(shown)}

    def said(*options):
        done = subprocess.run(
            [HERE / "check.sh", *options], capture_output=True, text=True, check=False, env=environment
        )
        return done.returncode, done.stdout + done.stderr

    status, text = said("--wheels", wheels, "--quick")
    assert status == 0
    assert "planted_module" in text
    assert text.rstrip().endswith("check.py --quick")
    for folder, wrong in ((tmp_path / "none", "is no folder"), (HERE, "no wheel lies in")):
        status, text = said("--wheels", folder)
        assert status == 2
        assert wrong in text


def test_nothing_needs_the_libraries_for_tables():
    code = f"""
import importlib.util, sys
usual = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name in {check.ONLY_FOR_TABLES} else usual(name, *more)
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}, {str(HERE.parents[1] / "src")!r}]
import check
check.stand_in_for_tables()
import sections
assert not hasattr(sys.modules["polars"], "__version__")
print(*sections.SECTIONS)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == SECTIONS, done.stderr


# --- rules and sizes -----------------------------------------------------------------------------------------------


def test_all_budgets_together_are_less_than_ten_minutes():
    assert list(check.BUDGETS) == SECTIONS == list(sections.SECTIONS)
    assert sum(check.BUDGETS.values()) <= 580


def test_the_full_shapes_fit_a_card_of_139_gb_and_its_time():
    run = SimpleNamespace(quick=False, about={"memory_gb": 139.0}, device=torch.device("cuda"), earlier=lambda *_: 7e14)
    for model in sections.training_shapes(run).values():
        placement = place(model.fields, model.architecture, sections.this_site(run), model.name)
        assert (placement.zero_stage, placement.checkpoint_activations) == (0, False)
        a_token = training_flops(model.fields, model.architecture) / model.tokens_at(model.fields.n_steps)
        steps = (4 * 2 + 2) * placement.micro_batch * model.fields.n_ctx  # those of `speed` and of `memory`
        assert a_token * steps < 40 * 0.1 * 7e14, "at a tenth of the peak it takes more than 40 s"


def test_an_induction_head_is_what_the_demo_calls_one():
    assert Heads().induction_prefix_matching == sections.INDUCTION


def test_cards_are_known_by_their_names():
    names = {"NVIDIA H200": "H200", "NVIDIA A100-SXM4-80GB": "A100-80GB", "NVIDIA H100 PCIe": "H100-PCIe"}
    names |= {"NVIDIA H100 80GB HBM3": "H100", "NVIDIA L40S": "L40S", "NVIDIA GeForce RTX 4090": None, "CPU": None}
    for name, known in names.items():
        found = sections.data_sheet_peak(name)
        assert (found and found[0]) == known, name


def test_tolerances_are_those_of_the_arithmetic():
    assert tolerances.of_products(9, 256, 2.0) == 4 * 9 * 16 * 2.0 / 2**24
    assert tolerances.TF32 / tolerances.FLOAT32 == 8192
    assert tolerances.of_training(1.0, [0.0, 2.0, 1.0], 5) == [1.0, 31.0, 31.0]
    assert tolerances.of_bfloat16_training(0.5, [0.0, 2.0, 1.0]) == [0.5, 6.5, 6.5]


def test_a_number_that_is_none_fails(tmp_path):
    run = check.Run("peak", None, {}, tmp_path / "found.json", budget=1, quick=True, planted=None)
    run.row("unbounded", float("nan"), "")
    run.row("bounded", float("inf"), "", at_least=0.0)
    run.row("equal to its bound", 2.0, "", at_most=2.0)
    run.row("below", 1.0, "", at_least=2.0)
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert [row["passed"] for row in rows] == [False, False, True, False]
