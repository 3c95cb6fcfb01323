"""Plans: hand-counted cases, the paper's 34 models, jobs as Snakemake plans them, bytes and operations of real runs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from induction.errors import InductionError
from induction.files import read_json
from induction.measure.ablated_runs import ablated_losses, single_heads
from induction.measure.heads import HeadProbes, score_heads
from induction.measure.losses import example_losses, losses
from induction.models.transformer import Transformer
from induction.plan import MEASURING, as_json, as_text, chosen_site, count_jobs, plan, row_bytes, table_bytes
from induction.study.placement import resumable_bytes, snapshot_bytes
from induction.study.site import Node, Site, Slurm, Speed, load_site
from induction.study.study import load_study
from induction.tables.ablations import FULL, PATTERN_PRESERVING
from induction.tables.losses import LOSSES
from induction.tables.training import TRAINING
from induction.train.loop import train
from tiny_study import MEASURED

ROOT = Path(__file__).parents[1]
CORPORA = {"words": {"vocab_size": 300, "held_out": 0.2, "sources": [{"package": "networkx"}]}}
BASE = {
    "corpus": "words",
    "d_model": 32,
    "n_heads": 2,
    "n_ctx": 128,
    "batch_size": 2,
    "n_steps": 30,
    "snapshots": [{"every": 5}],
    "block_snapshots": 4,
    "optimizer": "adamw",
}
FAMILIES = {
    "attn": {"label": "attention-only", "base": BASE, "sweep": {"n_layers": [1, 2]}},
    "mlp": {"label": "with MLPs", "base": {**BASE, "d_mlp": 64}, "sweep": {"n_layers": [2]}},
}
STUDY = {
    **MEASURED,
    "families": ["attn", "mlp"],
    "figures": {"phase_change": {"families": ["attn"]}, "circuits": {"families": ["mlp"]}},
}
SITE = Site(slurm=Slurm(gpu_partition="g", cpu_partition="c"), node=Node(gpu="H100", ranks=8, cpus=64, memory_gb=500))


def configured(folder, study=None, families=None):
    (folder / "config").mkdir(exist_ok=True)
    models = {"corpora": CORPORA, "families": families or FAMILIES}
    (folder / "config/models.yaml").write_text(yaml.safe_dump(models), encoding="utf-8")
    config = {"study": "tiny", "studies": {"tiny": {**STUDY, **(study or {})}}}
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return load_study(folder)


@pytest.fixture
def tiny(tmp_path):
    return configured(tmp_path)


@pytest.fixture(scope="module")
def paper():
    return load_study(ROOT, "paper")


@pytest.fixture(scope="module")
def planned(paper):
    return plan(paper, load_site(ROOT / "profiles/slurm/site-many-nodes.yaml"))


# --- counted by hand --------------------------------------------------------------------------------------------


def test_a_tiny_study_counted_by_hand(tiny):
    told = plan(tiny, SITE.model_copy(update={"speed": Speed(disk_gb_per_second=2.0)}))
    one = next(model for model in told.models if model.name == "attn-1l-s0")
    # Four matrices of 32 x 32; two of 300 x 32 and two LayerNorms (the block's, the final one) of 64 besides.
    assert one.n_parameters == 4096
    assert one.n_all == 4096 + 2 * 9600 + 2 * 64 == 23_424
    assert one.tokens == 30 * 2 * 128
    # A sequence: 2 x 4096 x 128 in the block, 4 x 16 numbers of 2 heads over 128 x 129 / 2 pairs, 2 x 32 x 300 x 128.
    sequence = 1_048_576 + 4 * 16 * 2 * 8256 + 2_457_600
    assert one.training_flops == 60 * 3 * sequence
    # Seven snapshots of 24 examples; of the ablated ones are steps 0, 15 and 30.
    assert one.measuring_flops["losses"] == 7 * 24 * sequence
    assert (one.n_snapshots, one.n_ablated) == (7, 3)
    # Two blocks: 15 and 15 steps, 4 and 3 snapshots, each with a state of three times its size.
    step = 2 * 3 * sequence / (989e12 * 0.35)
    written = 4 * 4 * 23_424 / 2e9
    assert one.block_hours == pytest.approx([(15 * step + 4 * written) / 3600, (15 * step + 3 * written) / 3600])
    assert one.disk["snapshots"] == 7 * 4 * 23_424
    assert one.disk["states"] == 2 * 12 * 23_424
    # `losses`: three integers of 8 bytes and 128 losses of 4; `heads`: two of 8, two of 2, 13 scores of 4.
    assert table_bytes(tiny, tiny.models["attn-1l-s0"])["losses"] == 7 * 24 * (3 * 8 + 128 * 4)
    assert table_bytes(tiny, tiny.models["attn-1l-s0"])["heads"] == 7 * 2 * (2 * 8 + 2 * 2 + 13 * 4)
    # Intact, 2 heads in 2 ways on 3 snapshots, and in 3 more on the last.
    ablations = table_bytes(tiny, tiny.models["attn-1l-s0"])["ablations"]
    assert ablations == (3 + 2 * (2 * 3 + 3)) * (2 * 8 + 3 + 2 * 2 + 5 * 8 + 12 * 4)
    assert told.corpora == {"words": 30 * 2 * 128 + 1}
    assert told.disk["corpora"] == 2 * -(-7681 * 10 // 8)


def test_sums_are_those_of_the_models(planned):
    told = as_json(planned)
    for stage in ("train", "losses", "heads", "ablations", "last snapshot"):
        assert told["stages"][stage]["gpu_hours"] == pytest.approx(
            sum(model["gpu_hours"][stage] for model in told["models"])
        )
    assert told["gpu_hours"] == pytest.approx(sum(stage["gpu_hours"] for stage in told["stages"].values()))
    assert sum(stage["jobs"] for stage in told["stages"].values()) == told["jobs"]["all"]
    for kind in ("snapshots", "states", "tables"):
        assert told["disk_bytes"][kind] == sum(model["disk"][kind] for model in told["models"])
    for model in told["models"]:
        assert sum(model["block_hours"]) == pytest.approx(model["hours"]["train"])
        assert model["gpu_hours"]["train"] == pytest.approx(model["hours"]["train"] * model["placement"]["n_ranks"])
    assert json.loads(json.dumps(told)) == json.loads(json.dumps(told, sort_keys=True))


# --- the paper --------------------------------------------------------------------------------------------------


def test_the_34_models_of_the_paper(paper):
    assert len(paper.models) == 34
    series = {name: [m for m in paper.models.values() if m.family == name] for name in paper.families}
    assert {name: [model.fields.n_layers for model in models] for name, models in series.items()} == {
        "small-attn": [1, 2, 3, 4, 5, 6],
        "small-mlp": [1, 2, 3, 4, 5, 6],
        "full": [4, 6, 10, 16, 24, 40],
        "smear-keys": [1, 2],
        "plain-keys": [1, 2],
        "books-attn": [1, 2, 3, 4, 5, 6],
        "books-mlp": [1, 2, 3, 4, 5, 6],
    }
    for model in paper.models.values():
        fields = model.fields
        assert (fields.n_ctx, model.vocab_size, fields.seed, fields.positions) == (8192, 2**16, 0, "infused")
        if model.family == "full":
            assert fields.d_model == 128 * fields.n_layers
            assert fields.d_mlp == 4 * fields.d_model
            assert fields.n_parameters == 12 * fields.n_layers * fields.d_model**2
        else:
            assert (fields.d_model, fields.n_heads, fields.n_steps) == (768, 12, 10_000)
            assert fields.d_mlp == (3072 if "mlp" in model.family else 0)
            assert fields.corpus == ("books-pd" if "books" in model.family else "web")
            assert fields.smeared_keys == (model.family == "smear-keys")
    full = [model.fields for model in series["full"]]
    assert [f"{fields.n_parameters:.2g}" for fields in full] == [
        "1.3e+07",
        "4.2e+07",
        "2e+08",
        "8.1e+08",
        "2.7e+09",
        "1.3e+10",
    ]
    assert [(f.n_heads, f.d_model // f.n_heads) for f in full] == [
        (8, 64), (12, 64), (20, 64), (32, 64), (48, 64), (40, 128),
    ]  # fmt: skip
    plain, smeared = (series[name][1].fields.model_dump() for name in ("plain-keys", "smear-keys"))
    assert {name for name in plain if plain[name] != smeared[name]} == {"smeared_keys"}, "trained exactly alike"


def test_steps_and_tokens_of_the_paper(paper):
    small = paper.models["small-attn-3l-s0"]
    assert small.steps == (0, *range(50, 10_001, 50)), "the paper's 200, and step 0"
    assert [small.tokens_at(step) for step in (50, 10_000)] == [50 * 2**20, 10_000 * 2**20]
    assert small.tokens_at(small.fields.warmup_steps) / 1e9 == pytest.approx(1.5, abs=0.001)
    assert [small.fields.schedule.weight_decay_at(step) for step in (4749, 4750)] == [0.1, 0.01]
    assert [len(block) for block in small.blocks] == [67, 67, 67]
    powers = tuple(2**exponent for exponent in range(5, 18))
    assert paper.models["full-24l-s0"].steps == (0, *powers, 147_456, 163_840), "the paper's 15, and step 0"
    assert paper.models["full-40l-s0"].steps == (0, *powers, 147_456), "the paper's 14, and step 0"
    constant, grown = paper.models["full-16l-s0"], paper.models["full-24l-s0"]
    assert [constant.tokens_at(2**exponent) for exponent in (11, 12)] == [2**31, 2**32]
    assert [grown.tokens_at(2**exponent) for exponent in (11, 12)] == [2**31, 3 * 2**31], "larger steps after 2^11"


def test_the_plan_of_the_paper_fits_a_screen(planned):
    lines = as_text(planned).splitlines()
    assert len(lines) <= 52
    assert max(map(len, lines)) <= 130
    assert {line.split()[0] for line in lines[2:36]} == {model.name for model in planned.models}
    assert len({len(line) for line in lines[1:37]}) == 1, "columns stand under each other"


def test_gpu_hours_of_the_paper_follow_the_rule_of_six(planned):
    # 6 x parameters x tokens, to which attention and the unembedding add less than a quarter at this size.
    largest = next(model for model in planned.models if model.name == "full-40l-s0")
    rule = 6 * 12 * 40 * 5120**2 * (2**31 + 2 * 2**20 * (147_456 - 2048))
    assert 1 < largest.training_flops / rule < 1.25
    hours = largest.training_flops / (989e12 * 0.35) / 3600
    # The blocks' forward pass is run again for checkpointed activations: a third more, but for the unembedding.
    assert 1.25 < largest.gpu_hours("train") / hours < 1.36


def warned(told, beginning):
    """Return the one warning that begins so, or nothing."""
    [*found] = [warning for warning in told.warnings if warning.startswith(beginning)]
    assert len(found) <= 1
    return "".join(found)


def test_what_outlasts_the_limits_is_told(planned):
    blocks, training = (warned(planned, beginning) for beginning in ("blocks that outlast", "training outlasts"))
    for model in planned.models:
        assert (model.name in blocks) == (60 * max(model.block_hours) > planned.site.jobs.minutes)
        assert (model.name in training) == (model.hours["train"] > 24 * planned.site.jobs.training_days)
    # A sequence of its batches of 128 is on each of 128 GPUs.
    assert training.endswith("(5): full-40l-s0 (8.9 d; its batches divide over no more GPUs)")


def with_jobs(site, **jobs):
    return site.model_copy(update={"jobs": site.jobs.model_copy(update=jobs)})


def test_training_that_more_nodes_would_shorten_is_told(paper):
    site = load_site(ROOT / "profiles/slurm/site-8-gpus.yaml")
    told = warned(plan(paper, site), "training outlasts training_days (14)")
    assert [part.split(" ")[-2:] for part in told.split(")")[1:-1]] == [["raise", "jobs.nodes"]] * told.count("full-")
    assert "full-40l-s0" in told


def test_a_grace_too_short_for_a_step_and_a_state_is_told(tiny):
    site = SITE.model_copy(update={"speed": Speed(disk_gb_per_second=1e-6)})
    one = plan(tiny, site).models[0]
    # The state of 12 bytes a weight, 23,424 of them, at a kilobyte a second; a step of two sequences takes no time.
    assert one.state_seconds(site) == pytest.approx(281.1, abs=0.1)
    assert one.step_seconds == pytest.approx(one.training_flops / 30 / (989e12 * 0.35))
    for grace, told in ((341, True), (342, False)):
        assert ("attn-1l-s0 (0 + 281 s)" in warned(plan(tiny, with_jobs(site, grace_seconds=grace)), "grace_")) == told


def test_a_step_of_the_largest_batch_counts(planned):
    grown = next(model for model in planned.models if model.name == "full-24l-s0")
    # 128 sequences in 2,048 steps, then 256.
    n_sequences = 128 * 2048 + 256 * (163_840 - 2048)
    assert grown.step_seconds == pytest.approx(grown.training_flops * 256 / n_sequences / (64 * 989e12 * 0.35))


def test_states_between_snapshots_take_time_too(tiny):
    site = SITE.model_copy(update={"speed": Speed(training_utilisation=1e-12, disk_gb_per_second=1e-6)})
    one = plan(tiny, with_jobs(site, state_minutes=10**6)).models[0]
    # Five steps from one snapshot to the next; a state as often as three of them take, once between.
    minutes = 3 * one.step_seconds / 60
    more = plan(tiny, with_jobs(site, state_minutes=int(minutes))).models[0]
    added = 3600 * (sum(more.block_hours) - sum(one.block_hours))
    assert added == pytest.approx(6 * one.state_seconds(site), rel=1e-3)


def test_a_corpus_is_held_against_the_limit_without_a_gpu(paper):
    site = load_site(ROOT / "profiles/slurm/site.yaml")
    assert not warned(plan(paper, site), "corpus:")
    assert warned(plan(paper, with_jobs(site, cpu_minutes=240)), "corpus:").endswith(
        "the time limit of 4 h without a GPU"
    )


# --- other sites ------------------------------------------------------------------------------------------------


def test_a_gpu_and_a_utilisation_may_be_given(tmp_path, monkeypatch, tiny):
    monkeypatch.chdir(tmp_path)
    assert chosen_site(gpu="H200").name == "one H200", "without a site file"
    with pytest.raises(InductionError, match="no such site file"):
        chosen_site()
    with pytest.raises(InductionError, match="--utilisation: 35 is no share"):
        chosen_site(gpu="H200", utilisation=35)
    example = ROOT / "profiles/slurm/site-8-gpus.yaml"
    assert chosen_site(example, gpu="B200").rank_peak_flops == 2250e12
    half, whole = (plan(tiny, chosen_site(gpu="H100", utilisation=share)) for share in (0.25, 0.5))
    written = 7 * 4 * snapshot_bytes(tiny.models["attn-1l-s0"].architecture) / 1e9 / 3600
    times = [told.models[0].gpu_hours("train") - written for told in (half, whole)]
    assert times[0] == pytest.approx(2 * times[1])


def test_a_model_that_fits_nowhere_is_told_and_left_out_of_sums(paper):
    told = plan(paper, chosen_site(ROOT / "profiles/slurm/site-8-gpus.yaml", gpu="L40S"))
    lost = [model for model in told.models if model.placement is None]
    assert [model.name for model in lost] == ["full-40l-s0"]
    assert "no fit" in as_text(told)
    assert any("full-40l-s0 (13," in warning and "left out of all sums" in warning for warning in told.warnings)
    assert told.stages["train"].gpu_hours == sum(m.gpu_hours("train") for m in told.models if m.placement)
    assert as_json(told)["models"][17]["placement"] is None


# --- against what really happens --------------------------------------------------------------------------------


def snakemake_counts(folder, *arguments):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "rules", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.M))
    assert counts.pop("all") == "1", "the target itself"
    assert int(counts.pop("total")) == 1 + sum(map(int, counts.values()))
    return {rule: int(count) for rule, count in counts.items()}


@pytest.fixture
def project(tmp_path):
    for name in ("Snakefile", "workflow", "profiles"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_jobs_are_as_many_as_snakemake_plans(project):
    assert count_jobs(configured(project)) == snakemake_counts(project)
    more = {"families": ["attn"], "figures": {name: {"families": ["attn"]} for name in ("tokens", "window_rules")}}
    assert count_jobs(configured(project, more)) == snakemake_counts(project)


def test_jobs_of_the_demo_are_as_many_as_snakemake_plans(project):
    shutil.copytree(ROOT / "config", project / "config")
    assert count_jobs(load_study(project, "demo")) == snakemake_counts(project, "--config", "study=demo")


class Tokens:
    """Random tokens in place of a corpus."""

    n_train_tokens = 40_000
    training_fingerprint = "random"

    def verify(self, part, n_parts):
        pass

    def read(self, start, stop):
        return np.random.default_rng(0).integers(300, size=self.n_train_tokens)[start:stop]


def test_bytes_on_disk_are_those_of_a_real_run(tiny, tmp_path):
    model = tiny.models["mlp-2l-s0"]
    manifest = tmp_path / "model=tiny/block-0.json"
    table = tmp_path / "training/model=tiny/block-0.parquet"
    train(model.recipe(0), Tokens(), manifest, table, tokens_needed=model.tokens_needed)
    n_tensors = len(Transformer(model.architecture).state_dict())
    snapshots = [manifest.parent / entry["file"] for entry in read_json(manifest, "manifest")["snapshots"]]
    assert len(snapshots) == 4
    for path in snapshots:
        header = path.stat().st_size - snapshot_bytes(model.architecture)
        assert 0 < header < 150 * n_tensors + 1000
    states = sorted(manifest.parent.glob("state-*"))
    assert [path.name[:14] for path in states] == ["state-00000015"]
    for path in states:
        header = path.stat().st_size - resumable_bytes(model.fields, model.architecture)
        assert 0 < header < 3 * 150 * n_tensors + 10_000, "it also holds the rows of the table so far"
    assert pl.read_parquet(table).estimated_size() == 15 * row_bytes(TRAINING)

    out = tmp_path / "losses/model=tiny/block-0.parquet"
    examples = np.random.default_rng(1).integers(300, size=(600, 129), dtype=np.int32)
    losses(manifest, examples, out, provenance={}, device="cpu")
    raw = 4 * 600 * row_bytes(LOSSES, 128)
    # Exponents of losses are alike and shrink, their mantissas are random and do not.
    assert 0.5 < out.stat().st_size / raw < 1


def test_operations_are_those_of_real_runs(tmp_path):
    sizes = {**BASE, "d_model": 64, "n_heads": 4, "d_mlp": 256}
    families = {"mlp": {"label": "with MLPs", "base": sizes, "sweep": {"n_layers": [3]}}}
    study = configured(tmp_path, {"families": ["mlp"], "figures": {"phase_change": {"families": ["mlp"]}}}, families)
    model = study.models["mlp-3l-s0"]
    transformer = Transformer(model.architecture).eval().requires_grad_(False)
    transformer.initialise(0)
    tokens_BT = torch.randint(300, (24, 129))

    def counted(run):
        with FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops()

    def reckoned(stage, step):
        return next(iter(MEASURING[stage](study, model, (step,))))

    # On a CPU attention also computes what causality hides of 128 queries; tables would save the first layer's products.
    transformer.tables = lambda _: None
    assert counted(lambda: example_losses(transformer, tokens_BT)) == pytest.approx(reckoned("losses", 5), rel=0.15)
    probes = HeadProbes(
        np.random.default_rng(0).integers(300, size=(4, 49)), 12, np.random.default_rng(0).integers(300, size=(4, 12)),
        tokens_BT[:4].numpy(),
    )  # fmt: skip
    assert counted(lambda: score_heads(transformer, probes)) == pytest.approx(reckoned("heads", 5), rel=0.15)
    positions_BP = torch.tensor([*range(5, 10), *range(55, 64), 3]).expand(12, -1)
    both = [*single_heads(transformer, PATTERN_PRESERVING), *single_heads(transformer, FULL)]
    ablated = counted(lambda: ablated_losses(transformer, tokens_BT[:12], positions_BP, both))
    assert ablated == pytest.approx(reckoned("ablations", 15), rel=0.1)
