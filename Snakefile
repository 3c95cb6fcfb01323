# The study as a graph of jobs: workflow/rules says what each stage reads and writes, config/ what is studied.
import sys
from pathlib import Path

from snakemake.utils import min_version

from induction.cluster import Cluster, require_slurm
from induction.errors import InductionError
from induction.files import of_system
from induction.study.given import text_given, without_braces
from induction.study.jobs import Jobs
from induction.study.study import load_study

min_version("9.5")

try:
    checkout = without_braces(workflow.basedir)
    typed = workflow.config_settings.config_args
    site = text_given(config, "site", typed)
    if site and workflow.is_main_process and not workflow.output_settings.dryrun:
        require_slurm(sys.argv)
    study = Jobs(load_study(Path(), text_given(config, "study", typed)))
    study.identify_texts()
    cluster = Cluster(study.study, site, checkout)
except InductionError as error:
    raise WorkflowError(str(error)) from None
except OSError as error:
    raise WorkflowError(str(of_system(error))) from None


container: cluster.container


wildcard_constraints:
    corpus=r"[^/]+",
    model=r"[^/]+",
    block=r"\d+",
    figure=r"[a-z_]+",


rule all:
    default_target: True
    input:
        expand("results/figures/{figure}.pdf", figure=study.figures),
        "results/report.html",


rule tables:
    input:
        expand(
            "results/tables/losses/model={model}/block-{block}.parquet",
            zip,
            **study.parts,
        ),
        expand(
            "results/tables/heads/model={model}/block-{block}.parquet",
            zip,
            **study.parts,
        ),
        expand(
            "results/tables/ablations/model={model}/block-{block}.parquet",
            zip,
            **study.parts,
        ),
        expand(
            "results/tables/{table}/model={model}/part.parquet",
            table=[
                "set_ablations",
                "idealised",
                "compositions",
                "periods",
                "curves",
                "window_rules",
                "attributions",
                "repetitions",
                "passages",
            ],
            model=study.models,
        ),
        expand(
            "results/tables/{table}/model={model}/part.parquet",
            table=["pattern_tasks", "case_studies"],
            model=study.models_with_abstract_task,
        ),
        "results/tables/pca.parquet",
        "results/tables/claims.parquet",


include: "workflow/rules/corpus.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/analyse.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
