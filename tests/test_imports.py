"""Imports point one way: cli -> stages -> models -> tables -> study; stages never import each other."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src/induction"
STAGES = {"corpus", "train", "measure", "analyse", "figures", "report"}
MAY_IMPORT = {
    "study": set(),
    "tables": {"study"},
    "resampling": {"study"},
    "models": {"study", "tables"},
    "artefacts": {"tables"},
    **{stage: {"study", "resampling", "tables", "artefacts", "models"} for stage in STAGES},
    "draft": {"study", "tables", "artefacts", "corpus", "analyse", "figures"},
    "plan": {"study", "tables"},
    "cluster": {"study", "plan"},
    "status": {"study", "tables", "artefacts"},
    "cli": {"study", "tables", "artefacts", "models", "draft", "plan", "status", *STAGES},
    "__main__": {"cli"},
}
BASE = {"errors", "files", "identity", "palette", "places"}  # below every room
NO_TORCH = {
    "study",
    "resampling",
    "tables",
    "corpus",
    "analyse",
    "figures",
    "report",
    "draft",
    "plan",
    "cluster",
    "status",
}


def imports():
    """Yield (room, file, imported module) of the whole package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            yield from ((room, path.name, name) for name in names)


def test_rooms_import_only_what_lies_below_them():
    rooms = {room for room, _, _ in imports()}
    assert rooms - BASE - {"__init__"} == set(MAY_IMPORT), "a new room is declared here"
    for room, file, name in imports():
        if name.startswith("induction.") and room not in BASE:
            target = name.split(".")[1]
            assert target in {room, *BASE, *MAY_IMPORT[room]}, f"{room}/{file} imports {name}"


@pytest.mark.parametrize(
    ("library", "allowed"), [("snakemake", set()), ("transformers", set()), ("deepspeed", {"train"})]
)
def test_libraries_stay_where_they_belong(library, allowed):
    assert {room for room, _, name in imports() if name.split(".")[0] == library} <= allowed


def test_rooms_that_read_tables_alone_never_import_torch():
    assert {room for room, _, name in imports() if name.split(".")[0] == "torch"} & NO_TORCH == set()
    modules = "induction.cli, induction.cluster, induction.status, induction.study.jobs, induction.analyse.phases, induction.figures.stage, induction.corpus.build"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_says_what_goes_in_and_out():
    from induction.cli import STAGES as SUBCOMMANDS

    for name, stage in SUBCOMMANDS.items():
        said = subprocess.run(
            [sys.executable, "-m", "induction", name, "--help"], capture_output=True, text=True, check=True
        )
        words = " ".join(said.stdout.split())
        assert {"In:", "Out:"} <= set(words.split()), name
        assert all(option.name in said.stdout for option in stage.options)


def test_nothing_is_unpickled():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "pickle" not in text.replace("allow_pickle=False", ""), path
        assert "torch.load" not in text, path
