"""What jobs ask of a cluster, read off the paper's study on the example sites; by hand where a number is asked for."""

import math
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from induction.cluster import Cluster
from induction.errors import InductionError
from induction.study.study import load_study

ROOT = Path(__file__).parents[1]
SITES = {name: ROOT / f"profiles/slurm/{name}.yaml" for name in ("site", "site-8-gpus", "site-many-nodes")}


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
        assert int(words["nodes"]) == job["nodes"] == job["tasks"]
        assert ranks == int(job["gres"].rpartition(":")[2]) <= told["node"]["ranks"]
        assert ranks * int(words["cpus-per-task"]) == job["cpus_per_task"] <= told["node"]["cpus"]
        assert job["nodes"] <= told["jobs"]["nodes"]
        assert job["nodes"] == 1 or ranks == told["node"]["ranks"], "several nodes are taken whole"
        assert "--engine deepspeed --zero-stage" in job["training_options"]


def test_time_limits_are_within_the_sites(paper, site):
    cluster, told = site
    for name, model in paper.models.items():
        for block in range(len(model.blocks)):
            assert 10 < asked(cluster.training, name, block)["runtime"] <= told["jobs"]["minutes"]
    early, late = (asked(cluster.training, "full-16l-s0", block)["runtime"] for block in (0, 3))
    assert early < late, "a block of a few hundred steps waits no longer in line than it must"


def test_measuring_jobs_of_a_stage_are_alike_and_take_one_gpu(site):
    cluster, told = site
    for stage in ("losses", "heads", "ablations", "last snapshot"):
        resources = asked(cluster.measuring(stage), "small-attn-1l-s0")
        assert resources == asked(cluster.measuring(stage), "full-40l-s0"), "so that they can be an array"
        assert (resources["nodes"], resources["gres"]) == (1, f"{told['slurm']['gres']}:1")
        assert resources["runtime"] <= told["jobs"]["minutes"]


def test_a_job_that_was_stopped_by_its_time_limit_gets_twice_as_long(site):
    cluster, told = site
    first, second, last = (asked(cluster.measuring("heads"), "", attempt=n)["runtime"] for n in (1, 2, 20))
    assert second == min(2 * first, told["jobs"]["minutes"])
    assert last == told["jobs"]["minutes"]


def test_figures_ask_for_no_gpu(site):
    cluster, told = site
    for resources in (cluster.light, cluster.reading):
        assert "gres" not in resources
        assert resources["slurm_partition"] == told["slurm"]["cpu_partition"]
    assert cluster.light["mem_mb"] <= cluster.reading["mem_mb"]
    cores = told["jobs"]["cpu_cores"]
    assert cluster.building == {**cluster.reading, "cpus_per_task": cores, "corpus_threads": cores}


def test_ranks_start_inside_the_sites_container(paper, tmp_path):
    told = yaml.safe_load(SITES["site"].read_text(encoding="utf-8"))
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump({**told, "container": "induction.sif"}), encoding="utf-8")
    launch = asked(Cluster(paper, str(path)).training, "full-4l-s0")["launch"]
    assert launch.endswith(" apptainer exec --nv induction.sif")


def test_a_missing_site_file_is_told(paper):
    with pytest.raises(InductionError, match=r"nowhere\.yaml: no such site file"):
        Cluster(paper, "nowhere.yaml")
