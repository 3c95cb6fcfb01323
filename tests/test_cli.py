"""The command tells a mistake in a sentence, without a traceback, and exits with 2."""

import json

import pytest

from induction import cli


def said(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_a_missing_input_is_told(capsys, tmp_path):
    block = str(tmp_path / "block-0.json")
    evaluation = tmp_path / "evaluation.safetensors"
    message = said(capsys, "losses", block, "--evaluation", str(evaluation), "--out", str(tmp_path / "out"))
    assert message.startswith("induction: ")
    assert "evaluation.safetensors" in message
    assert "Traceback" not in message
    evaluation.write_bytes(b"\x00" * 40)
    message = said(capsys, "losses", block, "--evaluation", str(evaluation), "--out", str(tmp_path / "out"))
    assert "evaluation.safetensors" in message


def test_a_setting_of_the_wrong_kind_is_told(capsys, tmp_path):
    message = said(
        capsys, "figure", "pca", "--tables", "x", "--models", "[", "--settings", "{}", "--out", str(tmp_path)
    )
    assert "--models: not JSON" in message
    models = json.dumps([])
    message = said(
        capsys, "figure", "pcaa", "--tables", "x", "--models", models, "--settings", "{}", "--out", str(tmp_path)
    )
    assert "pcaa" in message
    config = json.dumps({"sources": [{"package": "numpy"}], "vocab_sise": 300})
    message = said(capsys, "corpus", "mine", "--config", config, "--out", str(tmp_path / "manifest.json"))
    assert "corpora.mine: vocab_sise: unknown field" in message
    assert "Did you mean vocab_size?" in message


def test_settings_are_checked(capsys, tmp_path):
    corpus, out = str(tmp_path / "manifest.json"), str(tmp_path / "out")
    message = said(capsys, "evaluation", corpus, "--settings", '{"evaluation": {"n_example": 3}}', "--out", out)
    assert "--settings: evaluation: n_example: unknown field" in message
    assert "Did you mean n_examples?" in message
    message = said(capsys, "evaluation", corpus, "--settings", "[]", "--out", out)
    assert "argument --settings: not a JSON object" in message


def test_an_unknown_stage_names_those_there_are(capsys):
    message = said(capsys, "los")
    assert "losses" in message
