"""What jobs ask of a cluster, read off the paper's study on the example sites; by hand where a number is asked for."""

import math
import os
import subprocess
import sys
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from induction.cluster import Cluster, require_slurm
from induction.errors import InductionError
from induction.plan import plan
from induction.study.site import load_site
from induction.study.study import load_study

ROOT = Path(__file__).parents[1]
STAGES = ("losses", "heads", "ablations", "last snapshot")
SITES = {name: ROOT / f"profiles/slurm/{name}.yaml" for name in ("site", "site-8-gpus", "site-many-nodes")}
ON_CPUS = {"accelerator": "cpu", "peak_tflops": 1000, "memory_gb": 1000}


@pytest.fixture(scope="module")
def paper():
    return load_study(ROOT, "paper")


@pytest.fixture(scope="module", params=SITES)
def site(request, paper):
    path = SITES[request.param]
    return Cluster(paper, str(path)), yaml.safe_load(path.read_text(encoding="utf-8"))


def asked(resources, model, block=0, attempt=1):
    """Return what a job is told, as Snakemake finds it out."""
    given = {"wildcards": SimpleNamespace(model=model, block=str(block)), "attempt": attempt}
    return {
        name: value(*(given[argument] for argument in signature(value).parameters)) if callable(value) else value
        for name, value in resources.items()
    }


def changed(folder, **parts):
    """Return a cluster whose site file says more than the repository's."""
    told = yaml.safe_load(SITES["site"].read_text(encoding="utf-8"))
    for name, part in parts.items():
        told[name] = {**told[name], **part} if isinstance(part, dict) else part
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(told), encoding="utf-8")
    return str(path)


def test_without_a_site_nothing_is_asked(paper):
    cluster = Cluster(paper, None)
    assert cluster.training == {"launch": "", "training_options": ""}
    assert cluster.measuring("losses") == cluster.reading == cluster.light == {}
    assert cluster.building == {"corpus_threads": 2}
    assert (cluster.environment, cluster.container) == ("cpu", None)


def test_a_small_model_asks_for_one_gpu_and_its_share_of_the_node(site):
    cluster, told = site
    small = asked(cluster.training, "full-4l-s0")
    node = told["node"]
    assert (small["nodes"], small["gres"]) == (1, f"{told['slurm']['gres']}:1")
    assert small["cpus_per_task"] == node["cpus"] // node["ranks"]
    assert small["mem_mb"] == math.floor(node["memory_gb"] / node["ranks"] * 1e9 / 2**20)
    assert small["slurm_partition"] == told["slurm"]["gpu_partition"]
    assert small["slurm_extra"].startswith(f"--signal=USR1@{told['jobs']['grace_seconds']}")


def test_the_ranks_that_are_launched_fill_what_is_asked(paper, site):
    cluster, told = site
    for model in paper.models:
        job = asked(cluster.training, model)
        words = dict(word.removeprefix("--").split("=") for word in job["launch"].split()[1:])
        ranks = int(words["ntasks-per-node"])
        assert job["launch"].startswith("srun ")
        assert int(words["ntasks"]) == ranks * job["nodes"]
        assert int(words["nodes"]) == job["nodes"] == job["tasks"]
        assert ranks == int(job["gres"].rpartition(":")[2]) <= told["node"]["ranks"]
        assert ranks * int(words["cpus-per-task"]) == job["cpus_per_task"] <= told["node"]["cpus"]
        assert job["nodes"] <= told["jobs"]["nodes"]
        assert job["nodes"] == 1 or ranks == told["node"]["ranks"], "several nodes are taken whole"
        assert "--engine deepspeed --zero-stage" in job["training_options"]
        assert " --state-minutes 60" in job["training_options"]


def test_time_limits_are_within_the_sites(paper, site):
    cluster, told = site
    for name, model in paper.models.items():
        for block in range(len(model.blocks)):
            assert 10 < asked(cluster.training, name, block)["runtime"] <= told["jobs"]["minutes"]
    early, late = (asked(cluster.training, "full-16l-s0", block)["runtime"] for block in (0, 3))
    assert early < late, "a block of a few hundred steps waits no longer in line than it must"


def test_a_training_is_never_stopped_by_its_own_signal_before_it_has_begun(paper, site):
    cluster, told = site
    jobs = told["jobs"]
    for name, model in paper.models.items():
        for block in range(len(model.blocks)):
            minutes = asked(cluster.training, name, block)["runtime"]
            # SLURM's signal may come a minute early.
            trains = 60 * (minutes - 1) - jobs["grace_seconds"]
            assert trains >= 600 or minutes == jobs["minutes"]


def test_the_time_limit_of_a_training_counted_by_hand(paper, tmp_path):
    cluster = Cluster(paper, changed(tmp_path, jobs={"grace_seconds": 90}))
    planned = next(
        model for model in plan(paper, load_site(tmp_path / "site.yaml")).models if model.name == "full-4l-s0"
    )
    # Twice as long, and 10 minutes; of a signal of 90 s two more, and one as SLURM counts in minutes.
    working = math.ceil(2 * 60 * planned.block_hours[0]) + 10
    assert asked(cluster.training, "full-4l-s0")["runtime"] == working + 3
    assert asked(cluster.training, "full-4l-s0", attempt=2)["runtime"] == 2 * working + 3


def test_measuring_jobs_of_a_models_stage_are_alike_and_take_one_gpu(site):
    cluster, told = site
    for stage in STAGES:
        first, last = (asked(cluster.measuring(stage), "small-attn-1l-s0", block) for block in (0, 2))
        assert first == last, "so that they can be an array"
        assert (first["nodes"], first["gres"]) == (1, f"{told['slurm']['gres']}:1")
        large = asked(cluster.measuring(stage), "full-40l-s0")
        assert {name for name in first if first[name] != large[name]} <= {"runtime"}
        assert first["runtime"] <= large["runtime"] <= told["jobs"]["minutes"]
    assert asked(cluster.measuring("losses"), "full-4l-s0")["runtime"] < large["runtime"]


def test_a_job_that_was_stopped_by_its_time_limit_gets_twice_as_long(site):
    cluster, told = site
    first, second, last = (asked(cluster.measuring("heads"), "full-4l-s0", attempt=n)["runtime"] for n in (1, 2, 20))
    assert second == min(2 * first, told["jobs"]["minutes"])
    assert last == told["jobs"]["minutes"]


def test_figures_ask_for_no_gpu(site):
    cluster, told = site
    for resources in (cluster.light, cluster.reading):
        assert "gres" not in resources
        assert resources["slurm_partition"] == told["slurm"]["cpu_partition"]
    assert [asked(cluster.light, "", attempt=n)["runtime"] for n in (1, 2)] == [30, 60]
    assert cluster.reading["runtime"] == told["jobs"]["minutes"]
    assert cluster.light["mem_mb"] <= cluster.reading["mem_mb"]
    cores = told["jobs"]["cpu_cores"]
    assert cluster.building == {**cluster.reading, "cpus_per_task": cores, "corpus_threads": cores}


def test_jobs_without_a_gpu_may_have_a_limit_of_their_own(paper, tmp_path):
    cluster = Cluster(paper, changed(tmp_path, jobs={"cpu_minutes": 20}))
    assert asked(cluster.light, "")["runtime"] == 20
    assert cluster.reading["runtime"] == cluster.building["runtime"] == 20
    assert asked(cluster.measuring("losses"), "full-40l-s0")["runtime"] > 20


def test_what_is_charged_is_of_all_jobs_and_what_nodes_must_have_of_those_with_gpus(paper, tmp_path):
    given = {"account": "mine", "qos": "long", "constraint": "[a100|h100]", "extra": "--exclusive"}
    cluster = Cluster(paper, changed(tmp_path, slurm=given))
    with_gpu = [asked(cluster.training, "full-4l-s0"), asked(cluster.measuring("losses"), "full-4l-s0")]
    for resources in (*with_gpu, cluster.light, cluster.reading, cluster.building):
        assert (resources["slurm_account"], resources["qos"]) == ("mine", "long")
        assert resources.get("constraint") == ("[a100|h100]" if resources in with_gpu else None)
        assert ("--exclusive" in resources.get("slurm_extra", "")) == (resources in with_gpu)


def test_ranks_start_inside_the_sites_container(paper, tmp_path):
    def launch():
        return asked(Cluster(paper, changed(tmp_path, **container)).training, "full-4l-s0")["launch"]

    container = {"container": "induction.sif"}
    assert launch().endswith(" --kill-on-bad-exit=1 apptainer exec --nv induction.sif")
    container["container_options"] = "--bind /a,/b"
    assert launch().endswith(" apptainer exec --nv --bind /a,/b induction.sif")
    container["node"] = ON_CPUS
    assert launch().endswith(" apptainer exec --bind /a,/b induction.sif")


def test_an_image_of_the_checkout_is_found_from_another_folder(paper, tmp_path, monkeypatch):
    checkout, elsewhere, odd = tmp_path / "checkout", tmp_path / "elsewhere", tmp_path / "my images"
    for folder in (checkout, elsewhere, odd):
        folder.mkdir()
    for folder in (checkout, odd):
        (folder / "induction.sif").touch()
    site = changed(tmp_path, container="induction.sif")
    monkeypatch.chdir(elsewhere)
    image = str(checkout / "induction.sif")
    cluster = Cluster(paper, site, checkout)
    assert cluster.container == image
    assert asked(cluster.training, "full-4l-s0")["launch"].endswith(f" apptainer exec --nv {image}")
    with pytest.raises(InductionError, match=r"my images/induction\.sif reaches a shell without quotes"):
        _ = Cluster(paper, site, odd).container
    (elsewhere / "induction.sif").touch()
    assert Cluster(paper, site, checkout).container == "induction.sif"
    assert Cluster(paper, changed(tmp_path, container="docker://a/b:1"), checkout).container == "docker://a/b:1"


def test_the_site_file_of_the_checkout_is_found_from_another_folder(paper, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Cluster(paper, "profiles/slurm/site.yaml", ROOT).reading["slurm_partition"] == "cpu"
    with pytest.raises(InductionError, match=r"profiles/slurm/none\.yaml: no such site file"):
        Cluster(paper, "profiles/slurm/none.yaml", ROOT)


def test_slurm_is_asked_for_only_where_jobs_are_submitted(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    for option in ("-n", "--lint", "--unlock", "--touch", "--summary"):
        require_slurm(["snakemake", "--profile", "slurm", option])
    with pytest.raises(InductionError, match="no SLURM on this machine: sbatch and squeue not found"):
        require_slurm(["snakemake", "--profile", "slurm"])


def test_ranks_on_cpus_are_told_to_leave_gpus_alone(paper, tmp_path):
    path = changed(tmp_path, node=ON_CPUS)
    launch = asked(Cluster(paper, path).training, "full-4l-s0")["launch"]
    # The shell of a rule, with srun replaced by what tells of its environment and of its words.
    shell = f'srun() {{ echo "$DS_ACCELERATOR ${{*: -2}}"; }}; {launch} induction train'
    assert subprocess.check_output(["bash", "-euo", "pipefail", "-c", shell], text=True) == "cpu induction train\n"


def test_models_that_fit_nowhere_are_all_told_at_once(paper, tmp_path):
    path = changed(tmp_path, node={"gpu": "small", "gpu_memory_gb": 20, "peak_tflops": 300})
    with pytest.raises(InductionError) as error:
        Cluster(paper, path)
    first, *models = str(error.value).splitlines()
    assert first.startswith(f"{path}: models of the study paper cannot be trained there. Make the site larger")
    lost = [model.name for model in plan(paper, load_site(Path(path))).models if model.placement is None]
    assert [line.split(" ")[0] for line in models] == lost
    assert {"full-24l-s0", "full-40l-s0"} <= {*lost} < {*paper.models}
    assert all(" does not fit on a cluster: " in line for line in models)


def test_a_missing_site_file_is_told(paper):
    with pytest.raises(InductionError, match=r"nowhere\.yaml: no such site file"):
        Cluster(paper, "nowhere.yaml")


@pytest.mark.parametrize(
    ("words", "model", "site_file"),
    [
        ([], "small-attn-1l-s0", "site"),
        (["--config", "study=demo"], "attn-1l-s1", "site"),
        (["--config", "site=profiles/slurm/site-8-gpus.yaml"], "small-attn-1l-s0", "site-8-gpus"),
    ],
)
def test_one_word_of_the_profile_may_be_changed_for_once(tmp_path, words, model, site_file):
    for name in ("Snakefile", "workflow", "profiles", "config", "slurm"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "-n", *words, "--"]
    target = f"results/models/{model}/block-0.json"
    done = subprocess.run(
        [*command, target], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seconds = yaml.safe_load(SITES[site_file].read_text(encoding="utf-8"))["jobs"]["grace_seconds"]
    assert f"slurm_extra=--signal=USR1@{seconds}" in done.stdout + done.stderr
