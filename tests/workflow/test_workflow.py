"""The real workflow, end to end, on a tiny study; then what `snakemake -n` plans after each kind of change."""

import re
import shutil
import subprocess
import sys

import duckdb
import polars as pl
from project import FAMILIES, ROOT, STUDY

from induction.tables.claims import ALL, CLAIMS
from induction.tables.schemas import TABLES

MODELS = ("attn-1l-s0", "attn-2l-s0", "smeared-1l-s0")
PAGES = {f"model_page {model}" for model in MODELS}
WITH_WINDOWS = {
    f"{figure}_figure"
    for figure in (
        "phase_change", "smeared_keys", "ablations", "pca", "tokens", "case_studies", "heat_maps", "model_analysis",
        "order_inversion", "icl_indices", "window_rules",
    )
}  # fmt: skip


def test_every_figure_and_table_is_there(project):
    for figure in STUDY["figures"]:
        for suffix in ("pdf", "svg", "png"):
            assert (project.folder / f"results/figures/{figure}.{suffix}").stat().st_size > 1000
    tables = project.folder / "results/tables"
    rows = {
        name: pl.read_parquet(tables / name / "**/*.parquet", hive_partitioning=True)
        for name in TABLES
        if TABLES[name].partitioned
    }
    assert rows["training"].filter(model="attn-2l-s0").height == 30
    assert rows["losses"].filter(model="attn-2l-s0").height == 7 * 24
    assert rows["heads"].filter(model="attn-2l-s0").height == 7 * 4
    assert sorted(rows["ablations"].filter(model="attn-2l-s0")["step"].unique()) == [0, 15, 30]
    assert rows["ablations"].filter(model="attn-2l-s0").height == 2 * (1 + 2 * 4) + (1 + 5 * 4)
    assert set(rows["set_ablations"].filter(model="attn-2l-s0")["step"]) == {30}
    assert rows["compositions"].filter(model="attn-2l-s0").height == 2 * 2
    assert sorted(rows["periods"].filter(model="attn-2l-s0")["period"]) == [12] * 4 + [20] * 4 + [40] * 4
    assert rows["pattern_tasks"].filter(model="attn-2l-s0").height == 4
    assert rows["repetitions"].filter(model="attn-2l-s0").height == 7 * 3
    assert rows["passages"].filter(model="attn-2l-s0").height == 2 * 32
    assert set(rows["case_studies"]["step"]) == {15, 30}
    assert rows["curves"].filter(model="smeared-1l-s0")["step"].to_list() == [0, 5, 10, 15]
    assert rows["phases"]["signal"].n_unique() == 5
    assert rows["replicates"].filter(model="attn-2l-s0").height == 7
    claims = CLAIMS.read(tables / "claims.parquet")
    assert sorted(claims.filter(subject=ALL)["claim"]) == list(range(1, 30))
    assert (project.folder / "results/claims.md").read_text(encoding="utf-8").count("\n") == 2 + 29
    by_duckdb = duckdb.sql(
        f"select count(*) from read_parquet('{tables}/losses/**/*.parquet', hive_partitioning=true)"
    ).fetchall()
    assert by_duckdb == [(rows["losses"].height,)]


def test_the_report_shows_every_figure_claim_and_model(project):
    page = (project.folder / "results/report.html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml;base64,") == len(STUDY["figures"]) + len(MODELS) + 1, (
        "one is also in the summary"
    )
    for model in MODELS:
        assert (project.folder / f"results/figures/models/{model}.pdf").stat().st_size > 1000
        assert model in page
    shown = re.sub(r"<script.*?</script>", "", page, flags=re.S)  # plotly's own has links that nothing here shows
    assert not re.search(r'(?:src|href)="https?://', shown.replace("https://arxiv.org", ""))


def test_snakemakes_own_report_has_every_figure_with_its_caption(project):
    done = project.run("--report", "own.html")
    assert done.returncode == 0, done.stdout + done.stderr
    page = (project.folder / "own.html").read_text(encoding="utf-8")
    for figure in (*STUDY["figures"], *(f"models/{model}" for model in MODELS)):
        assert f"results/figures/{figure}.svg" in page
    for category in ("Phase change", "Models", "Curiosities", "Sensitivity"):
        assert category in page
    assert "24 evaluation examples" in page, "captions are filled in"


def test_a_study_that_is_still_running_is_drawn_from_the_blocks_that_exist(project, tmp_path):
    shutil.copytree(project.folder / "config", tmp_path / "config")
    shutil.copytree(project.folder / "text", tmp_path / "text")  # results are known by what they were made from
    shutil.copytree(
        project.folder / "results", tmp_path / "results", ignore=shutil.ignore_patterns("models", "figures")
    )
    tables = tmp_path / "results/tables"
    for table in (
        "curves",
        "replicates",
        "phases",
        "onsets",
        "window_rules",
        "attributions",
        "repetitions",
        "passages",
    ):
        shutil.rmtree(tables / table)
    for table in ("idealised", "case_studies", "pattern_tasks", "compositions", "set_ablations"):
        shutil.rmtree(tables / table)
    for unmade in ("claims.parquet", "orders.parquet", "pca.parquet"):
        (tables / unmade).unlink()
    for table in ("losses", "heads", "ablations"):
        shutil.rmtree(tables / table / "model=smeared-1l-s0")
    (tables / "losses/model=attn-2l-s0/block-1.parquet").unlink()
    before = sorted(tables.rglob("*"))
    said = subprocess.run(
        [sys.executable, "-m", "induction", "draft"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert "attn-1l-s0: 2 of 2 blocks" in said
    assert "attn-2l-s0: 1 of 2 blocks" in said
    assert "smeared-1l-s0: 0 of 1 blocks" in said
    draft = tmp_path / "results/draft"
    assert pl.read_parquet(draft / "tables/curves/model=attn-2l-s0/part.parquet")["step"].to_list() == [0, 5, 10, 15]
    for figure in (
        "phase_change",
        "pca",
        "smeared_keys",
        "heat_maps",
        "model_analysis",
        "tokens",
        "window_rules",
        "class_thresholds",
    ):
        assert (draft / f"figures/{figure}.pdf").is_file(), said
    assert "left out: idealised: figure idealised: needs table idealised, of which no part is given" in said
    claims = (draft / "claims.md").read_text(encoding="utf-8")
    assert claims.startswith("A draft of 3 of 5 blocks")
    assert claims.count("\n") == 2 + 2 + 29
    assert sorted(tables.rglob("*")) == before, "nothing is written among the results"


def test_the_queries_of_the_readme_run_and_agree(project):
    queries = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert len(queries) == 2
    for query in queries:
        said = subprocess.run(
            [sys.executable, "-c", query], cwd=project.folder, capture_output=True, text=True, check=True
        )
        assert "attn-1l-s0" in said.stdout


def test_nothing_is_left_to_do_and_every_job_has_its_log_and_cost(project):
    assert project.planned() == set()
    logs = project.folder / "results/logs"
    assert (logs / "train/attn-2l-s0-1.log").is_file()
    benchmark = pl.read_csv(logs / "train/attn-2l-s0-1.tsv", separator="\t")
    assert benchmark["max_rss"].cast(pl.Float64, strict=False)[0] < 2000, "peak memory, MB"


def test_the_tables_target_makes_what_no_figure_and_no_claim_shows(project):
    stages = ("set_ablations", "compositions", "periods", "passages", "window_rules")
    assert project.planned("tables") == {f"{stage} smeared-1l-s0" for stage in stages}


def test_snapshots_can_be_read_by_whoever_may_read_tables(project):
    snapshot = project.folder / "results/models/attn-2l-s0/snapshots/step-00000005.safetensors"
    table = project.folder / "results/tables/pca.parquet"
    assert snapshot.stat().st_mode == table.stat().st_mode


def test_a_comment_or_docstring_replans_nothing(restored):
    for module in ("measure/heads.py", "models/transformer.py", "figures/pca.py", "train/loop.py"):
        restored.edit(module, lambda text: text.replace('"""', '"""New words: ', 1) + "\n# a comment\n")
    assert restored.planned() == set()


def test_a_figures_module_replans_that_figure_alone(restored):
    restored.edit("figures/pca.py", lambda text: text + "\nADDED = 1\n")
    assert restored.planned() == {"pca_figure", "report"}


def test_a_measurements_module_replans_it_and_what_reads_it(restored):
    restored.edit("measure/ablations.py", lambda text: text + "\nADDED = 1\n")
    models = {"attn-1l-s0": 2, "attn-2l-s0": 2, "smeared-1l-s0": 1}
    ablations = {f"ablations {model} {block}" for model, n_blocks in models.items() for block in range(n_blocks)}
    ablations |= {f"set_ablations attn-{n_layers}l-s0" for n_layers in (1, 2)}
    attributions = {f"attributions {model}" for model in models}
    figures = {f"{figure}_figure" for figure in ("ablations", "class_thresholds", "model_analysis")}
    assert restored.planned() == ablations | attributions | figures | PAGES | {"claims", "report"}


def test_an_edit_of_training_code_trains_nothing(restored):
    restored.edit("train/plain.py", lambda text: text + "\nADDED = 1\n")
    assert restored.planned() == set()


def test_a_changed_window_measures_nothing_again(restored):
    restored.configure(study={"phases": {"min_icl_drop_nats": 0.3}})
    plan = restored.planned()
    analysis = {"phases", "window_rules", "attributions", "repetitions", "passages", "pca", "claims"}
    assert {job.split()[0] for job in plan} == analysis | {"model_page", "report"} | WITH_WINDOWS


def test_a_value_added_to_a_sweep_plans_the_new_model_and_the_figures_that_show_it(restored):
    families = {**FAMILIES, "smeared": {**FAMILIES["smeared"], "sweep": {"n_layers": [1, 2]}}}
    restored.configure(families=families)
    plan = restored.planned()
    new = {f"{stage} smeared-2l-s0 0" for stage in ("train", "losses", "heads", "ablations")}
    once = ("curves", "phases", "attributions", "idealised", "pattern_tasks", "repetitions", "case_studies")
    new |= {f"{stage} smeared-2l-s0" for stage in (*once, "model_page")}
    figures = {f"{figure}_figure" for figure in ("pca", "smeared_keys", "model_analysis")}
    assert plan == new | figures | PAGES | {"pca", "claims", "report"}


def test_more_steps_train_only_what_is_new(restored):
    families = {**FAMILIES, "attn": {**FAMILIES["attn"], "base": {**FAMILIES["attn"]["base"], "n_steps": 55}}}
    restored.configure(families=families)
    trained = {job for job in restored.planned() if job.startswith("train")}
    # block 0 (steps 0 to 15) is whole and stays; block 1 had three of its four snapshots
    assert trained == {f"train attn-{n_layers}l-s0 {block}" for n_layers in (1, 2) for block in (1, 2)}


def test_a_learning_rate_trains_its_family_again_and_no_other(restored):
    families = {**FAMILIES, "attn": {**FAMILIES["attn"], "base": {**FAMILIES["attn"]["base"], "learning_rate": 1e-3}}}
    restored.configure(families=families)
    plan = restored.planned()
    assert {job for job in plan if job.startswith("train")} == {
        f"train attn-{n}l-s0 {b}" for n in (1, 2) for b in (0, 1)
    }
    of_others = {job for job in plan if job.endswith(("smeared-1l-s0", "smeared-1l-s0 0"))}
    assert of_others == {"model_page smeared-1l-s0"}, "it shows the joint PCA"


def test_mistakes_reach_the_user_without_a_traceback(restored):
    restored.configure(families={**FAMILIES, "attn": {**FAMILIES["attn"], "sweep": {"n_layer": [1]}}})
    said = restored.run("-n")
    assert said.returncode != 0
    told = said.stdout + said.stderr
    assert "config/models.yaml: families.attn.sweep.n_layer: unknown field." in told
    assert "Did you mean n_layers?" in told
    assert "Traceback" not in told
    restored.configure()
    said = restored.run("-n", "results/tables/curves/model=attn-3l-s0/part.parquet")
    assert "no model of study tiny is called attn-3l-s0" in said.stdout + said.stderr


def test_a_lost_snapshot_is_told_and_its_block_made_again(restored):
    snapshot = restored.folder / "results/models/attn-2l-s0/snapshots/step-00000005.safetensors"
    content = snapshot.read_bytes()
    snapshot.unlink()
    said = restored.run(
        "--cores", "2", "--forcerun", "losses", "--", "results/tables/losses/model=attn-2l-s0/block-0.parquet"
    )
    assert said.returncode != 0
    told = said.stdout + said.stderr
    assert "step-00000005.safetensors: this snapshot, named by" in told
    command = re.search(r"snakemake (--forcerun train -- results/models/attn-2l-s0/block-0.json)", told)
    assert command, told
    again = restored.run("--cores", "2", *command[1].split())
    assert again.returncode == 0, again.stdout + again.stderr
    assert snapshot.read_bytes() == content
    done = restored.run("--cores", "2")
    assert done.returncode == 0, done.stdout + done.stderr
