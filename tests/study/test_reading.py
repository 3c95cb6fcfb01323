"""Mistakes in the configuration are told by file, key, value and what is permitted."""

import copy
from pathlib import Path

import pytest
import yaml

from induction.errors import InductionError
from induction.study.reading import read_yaml
from induction.study.schema import schemas
from induction.study.study import load_study

ROOT = Path(__file__).parents[2]
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())
MODELS = yaml.safe_load((ROOT / "config/models.yaml").read_text())


def told(tmp_path, config=None, models=None):
    """Return what is said of the configuration of this repository with some keys changed."""
    folder = tmp_path / "config"
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(changed(CONFIG, config or {}), sort_keys=False))
    (folder / "models.yaml").write_text(yaml.safe_dump(changed(MODELS, models or {}), sort_keys=False))
    with pytest.raises(InductionError) as error:
        load_study(tmp_path)
    return str(error.value)


def changed(content, changes):
    content = copy.deepcopy(content)
    for path, value in changes.items():
        *parents, last = path.split(".")
        inside = content
        for parent in parents:
            inside = inside[parent]
        inside[last] = value
    return content


def test_an_unknown_key_names_the_nearest_permitted_one(tmp_path):
    message = told(tmp_path, models={"families.attn.sweep.n_layer": [1]})
    assert message.startswith(
        "config/models.yaml: families.attn.sweep.n_layer: unknown field. Fields that can be swept:"
    )
    assert message.endswith("Did you mean n_layers?")
    message = told(tmp_path, config={"studies.demo.evaluation.n_example": 3})
    assert message.startswith(
        "config/config.yaml: studies.demo.evaluation.n_example: unknown field. Permitted: n_examples"
    )
    assert message.endswith("Did you mean n_examples?")
    message = told(tmp_path, models={"corpora.packages.sources": [{"pakage": "numpy"}]})
    assert "corpora.packages.sources.0.pakage: unknown field" in message
    assert "Did you mean package?" in message


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (
            {"families.attn.base.n_heads": 3},
            "families.attn with n_layers=1, seed=1: n_heads: 3 heads do not divide d_model 128; "
            "permitted: 1, 2, 4, 8, 16, 32, 64, 128",
        ),
        ({"families.attn.base.d_model": -1}, "families.attn.base.d_model: Input should be greater than or equal to 1 (is: -1)"),
        ({"families.attn.base.optimizer": "muom"}, "Did you mean muon?"),
        ({"families.attn.base.corpus": "pakages"}, "no corpus is called pakages. Permitted: packages, docs, books, web, web-large, books-pd. Did you mean packages?"),
        ({"families.attn.name": "attn"}, "two models are called attn. Put every swept field into the name: n_layers, seed"),
        ({"families.attn.name": "{n_layer}"}, "'{n_layer}' cannot be filled in ('n_layer'). Permitted in braces: family, n_layers"),
        ({"families.attn.name": "a/{n_layers}-{seed}"}, "letters, digits"),
        ({"families.attn.base.n_ctx": 256}, "n_ctx 256 is shorter than the 512 tokens of evaluation.n_tokens"),
        ({"families.attn.base.snapshots": [{"evry": 3}]}, "Did you mean every?"),
        ({"families.attn.base.snapshots": [{"start": 3}]}, "either every: N or powers_of_two: true"),
        ({"corpora.packages.sources": [{"package": "numpy", "files": "a"}]}, "either a package or files"),
    ],
)  # fmt: skip
def test_an_impossible_model_is_told(models, words, tmp_path):
    assert words in told(tmp_path, models=models)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"study": "demmo"}, "no study is called demmo. Permitted: demo, demo-full, paper. Did you mean demo?"),
        ({"studies.demo.families": ["atn"]}, "no family is called atn. Permitted: attn, smeared, mlp, docs, books, warmup, small-attn, small-mlp, smear-keys, plain-keys, books-attn, books-mlp, full. Did you mean attn?"),
        ({"studies.demo.figures.pca.families": ["attn", "mpl"]}, "studies.demo.figures.pca.families: no family is called mpl"),
        ({"studies.demo.figures": {"phase_chnge": {"families": ["attn"]}}}, "Did you mean phase_change?"),
        ({"studies.demo.evaluation.n_tokens": 200}, "token 510 is asked of examples of 200 tokens"),
        ({"studies.demo.ablations.n_examples": 5000}, "5000 is more than evaluation.n_examples 768"),
        ({"studies.demo.in_context": {"early": 500, "late": 50}}, "token 500 is not before late: token 50"),
    ],
)  # fmt: skip
def test_an_impossible_study_is_told(config, words, tmp_path):
    assert words in told(tmp_path, config=config)


def test_missing_and_broken_files_are_told(tmp_path):
    with pytest.raises(InductionError, match=r"config/config.yaml: no such file"):
        load_study(tmp_path)
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1,")
    with pytest.raises(InductionError, match=r"broken.yaml: not YAML"):
        read_yaml(broken)
    broken.write_text("families:\n  a: 1\n  b: &b {c: 1}\n  d: {<<: *b, c: 2}\nfamilies:\n  e: 1\n")
    with pytest.raises(InductionError, match=r"(?s)broken.yaml: not YAML: the key families stands twice.*line 1"):
        read_yaml(broken)


def test_the_schemas_in_the_repository_are_those_of_the_code():
    """Else: make format."""
    for name, content in schemas().items():
        assert read_yaml(ROOT / "config/schema" / name) == content
