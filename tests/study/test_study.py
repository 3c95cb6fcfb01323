"""Models, steps, blocks and recipes; what changes a recipe and what does not."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from induction.errors import InductionError
from induction.study import digests
from induction.study.config import ModelFields, SnapshotRule
from induction.study.jobs import Jobs
from induction.study.stages import Node
from induction.study.steps import blocks, every_nth, snapshot_steps
from induction.study.study import Model, load_study

ROOT = Path(__file__).parents[2]


def model(**fields):
    return Model("m", "f", "label", ModelFields(**fields), vocab_size=1024)


def test_a_family_is_the_product_of_its_sweep(tmp_path):
    (tmp_path / "config").mkdir()
    shutil.copy(ROOT / "config/config.yaml", tmp_path / "config")
    content = yaml.safe_load((ROOT / "config/models.yaml").read_text())
    content["families"]["attn"]["sweep"] = {"n_layers": [1, 2, 3], "seed": [0, 1, 2]}
    (tmp_path / "config/models.yaml").write_text(yaml.safe_dump(content))
    names = [name for name in load_study(tmp_path).models if name.startswith("attn")]
    assert names == [f"attn-{n_layers}l-s{seed}" for n_layers in (1, 2, 3) for seed in (0, 1, 2)]


def test_figures_are_told_what_else_a_family_sweeps(tmp_path):
    (tmp_path / "config").mkdir()
    shutil.copy(ROOT / "config/config.yaml", tmp_path / "config")
    content = yaml.safe_load((ROOT / "config/models.yaml").read_text())
    content["families"]["attn"]["sweep"] = {"d_model": [64, 128], "seed": [0, 1]}
    content["families"]["attn"]["name"] = "attn-d{d_model}-s{seed}"
    (tmp_path / "config/models.yaml").write_text(yaml.safe_dump(content))
    told = yaml.safe_load(Jobs(load_study(tmp_path)).figure_models_json(SimpleNamespace(figure="phase_change")))
    assert [model["swept"] for model in told] == ["d_model 64", "d_model 64", "d_model 128", "d_model 128"]
    told = yaml.safe_load(Jobs(load_study(ROOT)).figure_models_json(SimpleNamespace(figure="phase_change")))
    assert {model["swept"] for model in told} == {""}


def test_a_study_can_sweep_a_family_anew_and_shares_the_models_that_both_have():
    demo, full = load_study(ROOT, "demo"), load_study(ROOT, "demo-full")
    assert set(demo.models) < set(full.models)
    for name, shared in demo.models.items():
        assert [shared.recipe(block) for block in range(len(shared.blocks))] == [
            full.models[name].recipe(block) for block in range(len(shared.blocks))
        ]
    assert {model.fields.seed for model in full.models.values() if model.family == "mlp"} == {1, 2, 3}
    assert {model.fields.n_layers for model in full.models.values() if model.family == "mlp"} == {2}


def test_models_of_another_corpus_or_group_share_no_components(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    path = tmp_path / "config/models.yaml"
    models = yaml.safe_load(path.read_text())
    models["families"]["mlp"]["group"] = "with MLPs"
    path.write_text(yaml.safe_dump(models))
    told = json.loads(Jobs(load_study(tmp_path)).pca_json(None))
    assert told["groups"]["attn-2l-s1"] == told["groups"]["warmup-600-2l-s1"] == "packages"
    assert told["groups"]["mlp-2l-s1"] == "packages, with MLPs"
    assert told["corpora"] == {
        "packages": "packages",
        "packages, with MLPs": "packages",
        "docs": "docs",
        "books": "books",
    }


def test_a_figure_is_told_its_axis_of_time_and_a_page_that_of_all_models(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    path = tmp_path / "config/config.yaml"
    config = yaml.safe_load(path.read_text())
    config["studies"]["demo"]["figures"]["model_analysis"]["time"] = "log"
    path.write_text(yaml.safe_dump(config))
    jobs = Jobs(load_study(tmp_path))
    assert json.loads(jobs.page_json(None))["time"] == "log"
    assert json.loads(jobs.figure_json(SimpleNamespace(figure="phase_change")))["time"] == "linear"


def test_other_periods_change_nothing_but_their_own_stage(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    path = tmp_path / "config/config.yaml"
    config = yaml.safe_load(path.read_text())
    usual = {"n_sequences": 32, "period": 25, "n_repeats": 4, "commonest_excluded": 0.05, "rarest_excluded": 0.05}
    usual |= {"n_examples": 32, "seed": 0}
    found = []
    for other_periods in ([], [100, 150], [60]):
        config["studies"]["demo"]["probes"] = {"other_periods": other_periods} if other_periods else {}
        path.write_text(yaml.safe_dump(config))
        jobs = Jobs(load_study(tmp_path))
        assert json.loads(jobs.probes_json(None)) == {"probes": usual}
        assert "probes" not in json.loads(jobs.watch_json(None))
        found.append({name: jobs.identity(Node(name, "attn-2l-s1", 0)) for name in ("train", "heads")})
        asked = json.loads(jobs.periods_json(None))
        assert asked["n_tokens"] == 512
        assert asked["probes"].get("other_periods", []) == other_periods
        found[-1] |= {"probes": jobs.identity(Node("probes", "packages"))}
        found[-1] |= {"periods": jobs.identity(Node("periods", "attn-2l-s1"))}
    for name in ("train", "heads", "probes"):
        assert len({one[name] for one in found}) == 1
    assert len({one["periods"] for one in found}) == 3
    config["studies"]["demo"]["probes"] = {"other_periods": [100, 256]}
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(InductionError, match=r"studies.demo.probes.other_periods: 256 .* 513 tokens.* at most 255"):
        load_study(tmp_path)


def test_a_model_has_as_many_parameters_as_the_paper_counts():
    assert model(n_layers=4, d_model=512, n_heads=8, d_mlp=2048).fields.n_parameters == 12 * 4 * 512**2
    assert model(n_layers=1, d_model=64, n_heads=2, d_head=8).fields.n_parameters == 4 * 64 * 16


def test_snapshot_steps():
    assert snapshot_steps([SnapshotRule(every=100)], 250) == (0, 100, 200, 250)
    assert snapshot_steps([SnapshotRule(every=5, start=10, stop=20)], 100) == (0, 10, 15, 20, 100)
    # the paper's full-scale models: 2^5 ... 2^17 and a final one
    assert snapshot_steps([SnapshotRule(powers_of_two=True, start=32)], 140_000)[1:-1] == tuple(
        2**n for n in range(5, 18)
    )


@given(st.integers(1, 40), st.integers(1, 400), st.integers(1, 400), st.integers(1, 20))
def test_more_steps_change_no_full_block(every, n_steps, more, size):
    rules = [SnapshotRule(every=every)]
    short = model(snapshots=rules, n_steps=every * n_steps, block_snapshots=size)
    long = model(snapshots=rules, n_steps=every * (n_steps + more), block_snapshots=size)
    assert short.steps == long.steps[: len(short.steps)]
    whole = [block for block, steps in enumerate(short.blocks) if len(steps) == size]
    assert all(short.recipe(block) == long.recipe(block) for block in whole)
    assert sum(short.blocks, ()) == short.steps


def test_every_nth_has_the_last():
    assert every_nth((0, 10, 20, 30, 40, 45), 2) == {0, 20, 40, 45}
    assert blocks(range(5), 2) == ((0, 1), (2, 3), (4,))


def test_a_recipe_holds_all_that_changes_weights_and_nothing_else():
    base = model().recipe(0)
    for changed in (
        {"learning_rate": 1e-3},
        {"seed": 1},
        {"d_model": 64},
        {"smeared_keys": True},
        {"weight_decay": 0.0},
    ):
        assert model(**changed).recipe(0) != base, changed
    for unchanged in ({"n_steps": 40_000}, {"epochs": 2.0}):
        assert model(**unchanged).recipe(0) == base, unchanged
    changes = {
        "weight_decay_changes": [{"step": 5, "weight_decay": 0.1}],
        "batch_growth": [{"step": 5, "batch_size": 8}],
        "rate_decay": {"start": 1, "stop": 9},
    }
    for name, change in changes.items():
        assert name not in base["settings"], "what is not set leaves earlier recipes as they were"
        assert model(**{name: change}).recipe(0) != base, name
    full = model(**changes).recipe(0)
    fields = set(ModelFields.model_fields) - {"n_steps", "epochs", "snapshots", "block_snapshots", "ablated_examples"}
    assert fields == {*full["settings"], *full["architecture"]} - {"vocab_size"}, "a new field must enter the recipe"


def test_tokens_needed():
    assert model(n_steps=10, batch_size=4, n_ctx=512).tokens_needed == 10 * 4 * 512 + 1
    assert model(n_steps=10, batch_size=4, n_ctx=512, epochs=2.0).tokens_needed == 10 * 4 * 256 + 1


def test_the_ablated_steps_of_all_blocks_are_those_of_the_model():
    jobs, study = Jobs(load_study(ROOT)), load_study(ROOT)
    for name, which in study.models.items():
        steps = []
        for block in range(len(which.blocks)):
            steps += yaml.safe_load(jobs.ablated_json(SimpleNamespace(model=name, block=str(block))))["steps"]
        assert len(steps) >= 4
        assert steps == sorted(every_nth(which.steps, study.config.ablations.every))
        assert which.steps[-1] in steps


def forget():
    """Forget what was read of the package's files."""
    for cached in ("code_digest", "imported_modules", "tree_of", "_text_of", "_imports"):
        getattr(digests, cached).cache_clear()


@pytest.fixture
def edited(monkeypatch):
    """Return the digest of a stage after an edit of one module's text."""

    def digest(stage, module, edit):
        forget()
        read = Path.read_text
        file = digests._found(module)
        monkeypatch.setattr(
            Path, "read_text", lambda path, **how: edit(read(path, **how)) if path == file else read(path, **how)
        )
        try:
            return digests.code_digest(stage)
        finally:
            monkeypatch.undo()
            forget()

    return digest


HEADS, LOSSES, PCA = "induction.measure.heads", "induction.measure.losses", "induction.figures.pca"


def test_a_digest_sees_code_and_not_its_words(edited):
    def nothing(text):
        return text

    def comment(text):
        return text.replace('"""', '"""Other words. ', 1) + "\n# a comment\n\n\n"

    def attribute_docstring(text):
        assert '"""The one key of the header' in text
        return text.replace('"""The one key of the header', '"""Other words')

    def description(text):
        assert 'description="Resamples."' in text
        return text.replace('description="Resamples."', 'description="Other words."')

    def bound(text):
        return text.replace('Field(500, description="Resamples.")', 'Field(501, description="Resamples.")')

    def code(text):
        return text + "\nADDED = 1\n"

    before = {stage: edited(stage, HEADS, nothing) for stage in (HEADS, LOSSES, PCA)}
    assert all(edited(stage, HEADS, comment) == before[stage] for stage in before)
    assert edited(HEADS, "induction.models.tensor_files", attribute_docstring) == before[HEADS]
    phases = "induction.analyse.phases"
    assert edited(phases, "induction.study.analysis", description) == edited(phases, HEADS, nothing)
    assert edited(phases, "induction.study.analysis", bound) != edited(phases, HEADS, nothing)
    assert edited(HEADS, HEADS, code) != before[HEADS]
    assert edited(LOSSES, HEADS, code) == before[LOSSES]
    assert edited(HEADS, "induction.models.transformer", code) != before[HEADS], "what a stage imports counts"
    assert edited(PCA, "induction.models.transformer", code) == before[PCA]
    assert edited(PCA, "induction.figures.theme", code) != before[PCA]
    assert edited(PCA, "induction.figures.ablations", code) == before[PCA]
    with pytest.raises(ModuleNotFoundError):
        digests.code_digest("induction.measure.hedas")


def test_a_digest_sees_the_templates_of_a_package(monkeypatch):
    report, template = "induction.report.stage", "report.html.j2"
    digests.code_digest.cache_clear()
    before, pca = digests.code_digest(report), digests.code_digest(PCA)
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b" " * (path.name == template))
    digests.code_digest.cache_clear()
    after = digests.code_digest(report), digests.code_digest(PCA)
    digests.code_digest.cache_clear()
    assert after[0] != before
    assert after[1] == pca
