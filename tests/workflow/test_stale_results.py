"""No result outlives a change of what it was made from, whatever failed in between.

Snakemake is real here, and so are the rules; only the command `induction` is a stand-in that writes empty files, so that
a failure of every stage in turn takes seconds. What the real command writes and compares is tested below it.
"""

import os
import re
import stat

import pytest
from project import FAMILIES, Project

from induction.study.jobs import Jobs
from induction.study.stages import MADE_BESIDE, STAGES, Node
from induction.study.study import load_study

STAND_IN = """#!/bin/sh
stage=$1
name=$2
case " $FAILS " in *" $stage "*|*" $stage:$name "*) exit 2;; esac
while [ $# -gt 0 ]; do
    case $1 in
        --out) out=$2;;
        --model) name=$2;;
        --table|--replicates|--onsets|--orders|--people) echo > "$2";;
    esac
    shift
done
if [ "$stage" = figure ]; then
    for suffix in pdf svg png; do echo > "$out/$name.$suffix"; done
else
    echo > "$out"
fi
"""
SMALL = {
    "attn": {
        **FAMILIES["attn"],
        "base": {**FAMILIES["attn"]["base"], "n_steps": 10, "block_snapshots": 3},
        "sweep": {"n_layers": [2]},
    }
}
FIGURES = {name: {"families": ["attn"]} for name in ("phase_change", "case_studies")}
SMALL_STUDY = {"families": ["attn"], "figures": FIGURES}


class Stub(Project):
    """A project whose stages cost nothing; `FAILS` names those that fail."""

    def __init__(self, folder):
        super().__init__(folder)
        command = folder / "bin/induction"
        command.parent.mkdir()
        command.write_text(STAND_IN)
        command.chmod(command.stat().st_mode | stat.S_IXUSR)

    def change(self, number):
        """Configure another seed of the corpus, upon which everything depends."""
        corpora = {"words": {"vocab_size": 300, "held_out": 0.2, "seed": number, "sources": [{"files": "text/*.txt"}]}}
        self.configure(families=SMALL, study=SMALL_STUDY, corpora=corpora)

    def run_failing(self, *stages):
        environment = {"FAILS": " ".join(stages), "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        return self.run("--cores", "8", "--keep-going", "tables", "all", first=environment)


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    stub = Stub(tmp_path_factory.mktemp("stub"))
    stub.change(0)
    done = stub.run_failing()
    assert done.returncode == 0, done.stdout + done.stderr
    return stub


def jobs_of(project):
    return Jobs(load_study(project.folder))


def every_node(jobs):
    """Every job of a study, by the artefact that has its name."""
    study = jobs.study
    for name, stage in STAGES.items():
        if stage.per == "corpus":
            yield from (Node(name, corpus) for corpus in jobs.corpora)
        elif stage.per == "block":
            yield from (
                Node(name, model.name, block) for model in study.models.values() for block in range(len(model.blocks))
            )
        elif stage.per == "model":
            yield from (Node(name, model) for model in study.models)
        else:
            yield Node(name)
    yield from (Node("figure", name) for name in jobs.figures)


def as_planned(node):
    """A job as `Project.planned` names it."""
    if node.artefact == "figure":
        return f"{node.name}_figure"
    return " ".join(map(str, filter(lambda one: one not in ("", -1), node)))


def downstream(jobs, failed):
    """All jobs that read, directly or not, what the failed ones make; and those."""
    found = {as_planned(node) for node in every_node(jobs) if named(node) in failed}
    grown = True
    while grown:
        before = len(found)
        for node in every_node(jobs):
            upstream = (one for nodes in jobs.graph.inputs(node).values() for one in nodes)
            if any(
                as_planned(one._replace(artefact=MADE_BESIDE.get(one.artefact, one.artefact))) in found
                for one in upstream
            ):
                found.add(as_planned(node))
        grown = len(found) > before
    return found


def named(node):
    """A job's stage as the command line names it."""
    if node.artefact == "figure":
        return f"figure:{node.name}"
    return "figure:model_page" if node.artefact == "model_page" else node.artefact.replace("_", "-")


COMMANDS = [named(Node(name)) for name in STAGES] + [f"figure:{name}" for name in FIGURES]


def test_the_rules_read_what_the_graph_of_stages_says(stub):
    said = stub.run("-n", "--forceall", "tables", "all").stdout
    read = {}
    for job in re.split(r"\n(?=(?:local)?rule \w+:)", said)[1:]:
        inputs = re.search(r"\n    input: (.*)", job)
        outputs = re.search(r"\n    output: (.*)", job)
        for output in outputs[1].split(", ") if outputs else ():
            read[output] = set(inputs[1].split(", ")) if inputs else set()
    jobs = jobs_of(stub)
    seen = 0
    for node in every_node(jobs):
        expected = {path.as_posix() for paths in jobs.input_files(node).values() for path in paths}
        found = read[jobs.graph.path(node).as_posix()]
        assert {path for path in found if path.startswith("results/")} == expected, node
        seen += 1
    assert seen == len(list(every_node(jobs))) > 25


def test_a_study_without_the_figure_of_the_abstract_task_does_not_need_its_prompts(stub):
    stub.configure(families=SMALL, study={**SMALL_STUDY, "figures": {"phase_change": {"families": ["attn"]}}})
    planned = {job.split()[0] for job in stub.planned("--forceall", "tables", "all")}
    assert planned & {"prompts", "pattern_tasks", "case_studies"} == set()
    assert {"claims", "report", "phase_change_figure"} <= planned
    stub.change(0)


def test_a_stage_that_fails_after_a_change_is_planned_again_with_all_that_reads_it(stub):
    jobs = jobs_of(stub)
    for number, command in enumerate(COMMANDS, start=1):
        stub.change(number)
        failed = stub.run_failing(command)
        assert failed.returncode != 0, command
        planned = stub.planned("tables", "all")
        assert planned == downstream(jobs, {command}), command
    done = stub.run_failing()
    assert done.returncode == 0, done.stdout + done.stderr
    assert stub.planned("tables", "all") == set()


def test_no_command_grows_with_the_number_of_models(stub):
    """A single argument may have 128 KiB on Linux, and a job's whole command is one."""
    longest = {}
    for n_models in (2, 160):
        families = {"attn": {**SMALL["attn"], "sweep": {"n_layers": [2], "seed": list(range(n_models))}}}
        stub.configure(families=families, study=SMALL_STUDY)
        done = stub.run("-n", "-p", "--forceall", "results/report.html", "results/tables/claims.parquet")
        assert done.returncode == 0, done.stdout + done.stderr
        commands = re.findall(r"induction (\S+) .*", done.stdout)
        assert {"claims", "pca", "report", "figure"} <= set(commands)
        longest[n_models] = max(len(line) for line in done.stdout.splitlines() if "induction " in line)
    assert longest[160] < longest[2] + 20
