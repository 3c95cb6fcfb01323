"""A draft removes what an earlier draft made, and nothing else."""

import json
import shutil

import pytest

from induction import draft as stage
from induction.draft import draft
from induction.errors import InductionError
from induction.study.config import ModelsFile, StudyConfig
from induction.study.study import Study

MADE = "tables/curves/model=m-1/part.parquet"


@pytest.fixture
def study():
    base = {"n_steps": 200, "snapshots": [{"every": 100}], "block_snapshots": 3}
    family = {"label": "m", "name": "m-{seed}", "base": base, "sweep": {"seed": [1]}}
    corpora = {"packages": {"vocab_size": 300, "sources": [{"package": "numpy"}]}}
    config = {"description": "planted", "families": ["m"], "figures": {"pca": {"families": ["m"]}}}
    models = ModelsFile.model_validate({"corpora": corpora, "families": {"m": family}})
    return Study("planted", StudyConfig.model_validate({**config, "evaluation": {"n_examples": 300}}), models)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A study whose tables are not whole, so that nothing can be drawn; but its curves, whatever they are made of."""

    def curves(*arguments):
        curves_out = arguments[-2]
        curves_out.parent.mkdir(parents=True, exist_ok=True)
        curves_out.write_text("curves")

    monkeypatch.setattr(stage, "curves", curves)
    folder = tmp_path / "results"
    for table in ("losses", "heads"):
        write(folder / f"tables/{table}/model=m-1/block-0.parquet", "measured")
    write(folder / "corpora/packages/evaluation.safetensors", "drawn")
    return folder


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_second_draft_replaces_the_first_and_leaves_what_others_put_there(study, results, tmp_path):
    out = tmp_path / "results/draft"
    draft(study, results, out)
    assert (out / MADE).read_text() == "curves"
    assert json.loads((out / ".draft.json").read_text()) == [MADE]
    mine = [out / "tables/mine.parquet", out / "notes.md", out / "figures/mine.pdf"]
    for path in mine:
        write(path, "mine")
    write(out / MADE, "of an earlier draft")
    draft(study, results, out)
    assert (out / MADE).read_text() == "curves"
    assert [path.read_text() for path in mine] == ["mine"] * 3


def test_what_is_not_drawn_any_more_is_removed(study, results, tmp_path):
    out = tmp_path / "out"
    draft(study, results, out)
    write(out / "figures/gone.pdf", "of a draft of other figures")
    write(out / ".draft.json", json.dumps([MADE, "figures/gone.pdf"]))
    draft(study, results, out)
    assert not (out / "figures/gone.pdf").exists()


@pytest.mark.parametrize("which", ["results", "results/tables", ".", "home", "link"])
def test_a_folder_that_no_draft_made_is_refused_and_left_as_it_is(study, results, tmp_path, which):
    write(tmp_path / "home/figures/mine.pdf", "mine")
    (tmp_path / "link").symlink_to(results)
    before = content(tmp_path)
    with pytest.raises(InductionError, match=r"is not the folder of a draft; nothing was removed\. .*--out FOLDER"):
        draft(study, results, tmp_path / which)
    assert content(tmp_path) == before


def test_a_file_where_a_draft_writes_and_that_none_made_is_refused(study, results, tmp_path):
    out = tmp_path / "out"
    draft(study, results, out)
    write(out / "claims.md", "mine")
    with pytest.raises(InductionError, match=r"out/claims\.md: .* no draft made this file; nothing was removed"):
        draft(study, results, out)
    assert (out / "claims.md").read_text() == "mine"
    assert (out / MADE).is_file()


@pytest.mark.parametrize("noted", ["../results/tables/losses/model=m-1/block-0.parquet", "/{results}/x", "[1]", "{"])
def test_a_list_that_names_files_elsewhere_is_refused(study, results, tmp_path, noted):
    out = tmp_path / "out"
    write(out / ".draft.json", noted if noted in ("[1]", "{") else json.dumps([noted.format(results=results)]))
    before = content(tmp_path)
    with pytest.raises(InductionError, match=r"out/\.draft\.json: .*(nothing was removed|not whole|not the list)"):
        draft(study, results, out)
    assert content(tmp_path) == before


def test_a_link_out_of_the_draft_is_not_followed(study, results, tmp_path):
    out = tmp_path / "out"
    draft(study, results, out)
    write(tmp_path / "elsewhere/curves/model=m-1/part.parquet", "measured elsewhere")
    shutil.rmtree(out / "tables")
    (out / "tables").symlink_to(tmp_path / "elsewhere")
    before = content(tmp_path / "elsewhere")
    with pytest.raises(InductionError, match=r"as a file of the draft, which lies elsewhere"):
        draft(study, results, out)
    assert content(tmp_path / "elsewhere") == before
