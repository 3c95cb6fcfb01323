"""What a user can get wrong at the command line is told in a sentence, before anything is made."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from induction import cli
from induction.study.reading import validate
from induction.study.recipe import Recipe
from induction.study.study import load_study

ROOT = Path(__file__).parents[1]
MODEL = next(iter(load_study(ROOT, study="demo").models.values()))
RECIPE = MODEL.recipe(0)


def said(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


def training(folder, recipe=RECIPE, *more):
    """The arguments of a training whose corpus is missing: what is told before is told before that is looked for."""
    places = ("--out", str(folder / "block-0.json"), "--table", str(folder / "part.parquet"))
    return (
        "train",
        str(folder / "manifest.json"),
        "--recipe",
        json.dumps(recipe),
        "--tokens-needed",
        "9",
        *places,
        *more,
    )


@pytest.mark.parametrize("arguments", [["plan"], ["plan", "--json"]])
def test_a_reader_that_has_gone_ends_the_command_quietly(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "induction", *arguments, "--study", "demo"],
            stdout=writer,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 141  # 128 and SIGPIPE: what a shell says of other programs


@pytest.mark.parametrize("stage", ["4", "-1", "two"])
def test_a_zero_stage_that_there_is_not(capsys, tmp_path, stage):
    message = said(capsys, *training(tmp_path, RECIPE, f"--zero-stage={stage}"))
    assert "argument --zero-stage: invalid" in message
    assert stage in message


@pytest.mark.parametrize("number", ["0", "-3", "1.5", "many"])
def test_a_micro_batch_of_nothing(capsys, tmp_path, number):
    message = said(capsys, *training(tmp_path, RECIPE, f"--micro-batch={number}"))
    assert f"argument --micro-batch: not a whole number of at least 1: '{number}'" in message


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "often"])
def test_a_time_that_does_not_pass(capsys, tmp_path, seconds):
    message = said(capsys, "status", "--results", str(tmp_path), f"--watch={seconds}")
    assert f"argument --watch: not a number above 0: '{seconds}'" in message


def test_a_watch_of_something_unknown(capsys, tmp_path):
    message = said(capsys, *training(tmp_path, RECIPE, "--watch", '{"wacth": {"every": 5}}'))
    assert "--watch: wacth: unknown field. Permitted: watch, probes, in_context. Did you mean watch?" in message
    message = said(capsys, *training(tmp_path, RECIPE, "--watch", '{"watch": {"evry": 5}}'))
    assert "--watch: watch: evry: unknown field" in message
    assert "Did you mean every?" in message


def test_a_recipe_that_lacks_parts_names_each(capsys, tmp_path):
    message = said(capsys, *training(tmp_path, {}))
    for name in RECIPE:
        assert f"--recipe: {name}: this field is required." in message
    settings = {name: value for name, value in RECIPE["settings"].items() if name != "batch_size"}
    message = said(capsys, *training(tmp_path, {**RECIPE, "settings": settings}))
    assert message == "induction: --recipe: settings.batch_size: this field is required.\n"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"architecture": 3}, "--recipe: architecture: "),
        ({"architecture": {**RECIPE["architecture"], "n_layers": 0}}, "--recipe: architecture.n_layers: "),
        ({"settings": {**RECIPE["settings"], "batchsize": 3}}, "Did you mean batch_size?"),
        ({"settings": {**RECIPE["settings"], "seed": "x"}}, "--recipe: settings.seed: "),
        ({"steps": []}, "--recipe: steps: "),
        ({"start": -1}, "--recipe: start: "),
        ({"stesp": [1]}, "--recipe: stesp: unknown field"),
    ],
)
def test_a_recipe_with_a_wrong_part(capsys, tmp_path, change, told):
    assert told in said(capsys, *training(tmp_path, {**RECIPE, **change}))


def test_what_is_right_gets_as_far_as_the_missing_corpus(capsys, tmp_path):
    right = ("--zero-stage=3", "--micro-batch=2", "--watch", '{"watch": {"every": 5}}')
    assert "manifest.json: this corpus" in said(capsys, *training(tmp_path, RECIPE, *right))


@pytest.mark.parametrize("name", ["demo", "paper"])
def test_every_recipe_of_the_studies_is_whole(name):
    for model in load_study(ROOT, study=name).models.values():
        for block in (0, len(model.blocks) - 1):
            validate(json.loads(json.dumps(model.recipe(block))), Recipe, "--recipe")
