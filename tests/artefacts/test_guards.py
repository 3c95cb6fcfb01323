"""Every stage compares all of its inputs before it computes: with each other, and with what the study expects.

Each input of each stage of the catalogue is replaced in turn by one of another model, corpus or evaluation set. The files
hold nothing but where they come from: a stage that went on to read one would fail with another message.
"""

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from induction import cli
from induction.files import write_json
from induction.identity import running_as
from induction.study.stages import STAGES
from induction.tables.schemas import TABLES
from induction.tables.tensors import write_tensors

MINE = {"model": "m", "recipe": "r", "corpus": "c", "evaluation": "e"}
FOREIGN = {"model": "n", "recipe": "s", "corpus": "d", "evaluation": "f"}
OF_MODELS = [name for name, stage in STAGES.items() if stage.per in ("block", "model") and name != "model_page"]


def made(folder: Path, artefact: str, of: dict[str, str]) -> Path:
    """Write a file that says where it comes from."""
    with running_as(f"{artefact} of {of['model']}"):
        if artefact == "corpus":
            path = folder / "corpora" / of["corpus"] / "manifest.json"
            write_json(path, {"fingerprint": of["corpus"], "job": f"corpus of {of['model']}"})
        elif artefact == "train":
            path = folder / "models" / of["model"] / "block-0.json"
            write_json(path, {"identity": of["recipe"], "corpus": of["corpus"], "job": f"train of {of['model']}"})
        elif artefact in TABLES:
            path = folder / "tables" / artefact / f"model={of['model']}" / "part.parquet"
            provenance = {name: of[name] for name in ("recipe", "corpus", "evaluation")}
            TABLES[artefact].write(
                path,
                {column.name: [] for column in TABLES[artefact].columns if "[]" not in column.kind} | arrays(artefact),
                **provenance,
            )
        else:
            path = folder / "corpora" / of["corpus"] / f"{artefact}.safetensors"
            about = {"fingerprint": of["evaluation"], "training": of["corpus"]}
            if artefact == "token_classes":
                about["evaluation"] = of["evaluation"]
            names = ("tokens", "random_index") if artefact == "evaluation" else ("tokens",)
            write_tensors(path, {name: np.zeros(1, np.int64) for name in names}, about)
    return path


def arrays(table):
    return {column.name: np.empty((0, 1), np.float32) for column in TABLES[table].columns if "[]" in column.kind}


def call(folder, stage, inputs, job=None):
    """Run a stage of the command line on files, with all else that it asks for."""
    command = cli.STAGES[stage.replace("_", "-")]
    words = [stage.replace("_", "-")]
    for option in command.options:
        artefact = "train" if option.name == "block" else option.dest
        if artefact in inputs:
            value = str(inputs[artefact])
        elif not option.required or option.from_study or option.flag:
            continue
        else:
            value = {"--settings": "{}", "--recipe": "{}", "--tokens-needed": "1"}.get(
                option.name, str(folder / f"tables/made/model=m/{option.dest}.parquet")
            )
        words += [option.name, value] if option.name.startswith("--") else [value]
    cli.main([*words, *(["--job", json.dumps(job)] if job else [])])


def refused(capsys, *arguments, **more):
    with pytest.raises(SystemExit) as stopped:
        call(*arguments, **more)
    assert stopped.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("stage", [name for name in OF_MODELS if len(STAGES[name].reads) > 1 and name != "train"])
def test_an_input_of_something_else_is_refused_and_two_files_are_named(tmp_path, capsys, stage):
    reads = [read.artefact for read in STAGES[stage].reads]
    mine = {artefact: made(tmp_path, artefact, MINE) for artefact in reads}
    for artefact in reads:
        foreign = made(tmp_path, artefact, FOREIGN)
        said = refused(capsys, tmp_path, stage, {**mine, artefact: foreign})
        assert str(foreign) in said, (artefact, said)
        assert any(str(path) in said for name, path in mine.items() if name != artefact), (artefact, said)
        assert "not of one" in said
    # A recipe that has changed since: the same model, corpus and evaluation set.
    for artefact in set(reads) & {"train", *TABLES}:
        stale = made(tmp_path / "stale", artefact, {**MINE, "recipe": "old"})
        others = [path for name, path in mine.items() if name != artefact and name in {"train", *TABLES}]
        if others:
            assert "not of one recipe: " in refused(capsys, tmp_path, stage, {**mine, artefact: stale})


@pytest.mark.parametrize("stage", OF_MODELS)
def test_an_input_that_the_study_does_not_expect_is_refused_by_name(tmp_path, capsys, stage):
    reads = [read.artefact for read in STAGES[stage].reads if (stage, read.artefact) != ("train", "train")]
    inputs = {artefact: made(tmp_path, artefact, MINE) for artefact in reads}
    right = {artefact: [f"{artefact} of m"] for artefact in reads}
    for artefact in reads:
        job = {"identity": "made", "inputs": {**right, artefact: ["changed"]}}
        said = refused(capsys, tmp_path, stage, inputs, job=job)
        assert f"{inputs[artefact]}: does not belong to the study as it is configured now" in said
    with suppress(SystemExit):  # with what is expected, the stage itself looks at its empty inputs
        call(tmp_path, stage, inputs, job={"identity": "made", "inputs": right})
    assert "does not belong" not in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["losses", "compositions", "curves"])
def test_a_result_is_not_written_into_the_folder_of_another_model(tmp_path, capsys, stage):
    inputs = {read.artefact: made(tmp_path, read.artefact, FOREIGN) for read in STAGES[stage].reads}
    assert "of model n, but --out is" in refused(capsys, tmp_path, stage, inputs)


def test_losses_of_two_models_are_not_mixed(tmp_path, capsys):
    parts = [made(tmp_path, "losses", of) for of in (MINE, {**MINE, "model": "n"})]
    with pytest.raises(SystemExit):
        cli.main(["curves", "--losses", *map(str, parts), "--heads", str(made(tmp_path, "heads", MINE)),
                  "--evaluation", str(made(tmp_path, "evaluation", MINE)), "--settings", "{}",
                  "--out", str(tmp_path / "out"), "--replicates", str(tmp_path / "more")])  # fmt: skip
    said = capsys.readouterr().err
    assert f"{parts[0]} and {parts[1]}: not of one model: m and n" in said


def test_a_table_carries_the_identity_of_the_job_that_wrote_it(tmp_path):
    path = made(tmp_path, "phases", MINE)
    assert pq.read_schema(path).metadata[b"induction.identity"] == b"phases of m"
    assert pl.read_parquet(path).height == 0
