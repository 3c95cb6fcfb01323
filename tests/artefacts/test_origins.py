"""Files that are read together belong together, and to the study; two that do not are both named."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from induction.artefacts.origins import (
    Origin,
    check_expected,
    check_together,
    is_stale,
    joined,
    origin_of,
    provenance_of,
)
from induction.errors import InductionError
from induction.figures import theme
from induction.files import write_json
from induction.identity import running_as
from induction.tables.losses import LOSSES
from induction.tables.pca import PCA
from induction.tables.tensors import write_tensors


def losses(path, **provenance):
    rows = {"step": 0, "tokens": 0, "example": np.arange(2), "loss": np.ones((2, 3))}
    LOSSES.write(path, rows, **provenance)
    return path


def arrays(path, about, *names):
    write_tensors(path, {name: np.zeros(2, np.int64) for name in names}, {"fingerprint": "own", **about})
    return path


def test_every_kind_of_file_says_where_it_comes_from(tmp_path):
    with running_as("a-job"):
        part = losses(tmp_path / "model=m/part.parquet", recipe="r", corpus="t", evaluation="e")
        drawn = {"corpus": "whole", "training": "t"}
        evaluation = arrays(tmp_path / "evaluation.safetensors", drawn, "tokens", "random_index")
        probes = arrays(tmp_path / "probes.safetensors", drawn, "repeated", "distinct")
        classes = arrays(tmp_path / "classes.safetensors", {**drawn, "evaluation": "e"}, "classes", "passages")
    write_json(tmp_path / "m/block-0.json", {"identity": "r", "corpus": "t", "job": "a-job"})
    corpus = tmp_path / "c/manifest.json"
    write_json(corpus, {"fingerprint": "whole", "training_fingerprint": "t", "job": "a-job"})
    (tmp_path / "report.html").write_text('<head><meta name="identity" content="ab12"></head>', encoding="utf-8")
    assert origin_of(part) == Origin(part, "a-job", "m", ("r",), ("t",), ("e",))
    assert origin_of(evaluation) == Origin(evaluation, "a-job", "", (), ("t",), ("own",))
    assert origin_of(probes) == Origin(probes, "a-job", "", (), ("t",), ())
    assert origin_of(classes) == Origin(classes, "a-job", "", (), ("t",), ("e",))
    assert origin_of(tmp_path / "m/block-0.json") == Origin(
        tmp_path / "m/block-0.json", "a-job", "m", ("r",), ("t",), ()
    )
    assert origin_of(corpus) == Origin(corpus, "a-job", "", (), ("t",), ())
    assert origin_of(tmp_path / "report.html").identity == "ab12"


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_a_figure_carries_the_identity_and_the_same_one_gives_the_same_bytes(tmp_path, suffix):
    for name in ("a", "b"):
        with running_as("0123456789abcdef"):
            theme.save(Figure(), tmp_path / name)
    content = (tmp_path / f"a.{suffix}").read_bytes()
    assert b"0123456789abcdef" in content
    assert content == (tmp_path / f"b.{suffix}").read_bytes()
    assert origin_of(tmp_path / "a.svg").identity == "0123456789abcdef"


def of(name, model="", recipe="", corpus="", evaluation=""):
    return Origin(Path(name), "", model, *(tuple(filter(None, one.split(","))) for one in (recipe, corpus, evaluation)))


BLOCK, HEADS = of("block", "m", "r", "c"), of("heads", "m", "r", "c", "e")
EVALUATION, OTHER = of("evaluation", corpus="c", evaluation="e"), of("other", corpus="d", evaluation="f")


@pytest.mark.parametrize(
    ("given", "of_one", "named"),
    [
        ([HEADS, of("stray", "n", "r", "c", "e")], "model", "heads and stray: not of one model: m and n"),
        ([BLOCK, of("stray", "m", "old", "c")], "model", "block and stray: not of one recipe: r and old"),
        ([BLOCK, of("stray", corpus="d")], "model", "block and stray: not of one corpus: c and d"),
        ([HEADS, of("stray", "m", "r", "d", "e")], "model", "heads and stray: not of one corpus: c and d"),
        ([HEADS, OTHER], "model", "heads and other: not of one corpus: c and d"),
        ([HEADS, of("stray", corpus="c", evaluation="f")], "model", "heads and stray: not of one evaluation: e and f"),
        ([HEADS, of("stray", evaluation="f")], "model", "heads and stray: not of one evaluation: e and f"),
        ([HEADS, of("stray", "m", "old", "c", "e")], "study", "heads and stray: not of one recipe: r and old"),
        ([HEADS, of("stray", "n", "s", "c", "f")], "study", "heads and stray: not of one evaluation: e and f"),
        ([HEADS, of("pca", recipe="old,s", corpus="c,d")], "study", "pca and heads: .* not made from .* recipe r"),
        ([of("corpus", corpus="c"), OTHER], "corpus", "corpus and other: not of one corpus: c and d"),
    ],
)
def test_two_files_that_disagree_are_both_named(given, of_one, named):
    for order in (given, given[::-1]):
        with pytest.raises(InductionError) as error:
            check_together(order, of_one)
        for origin in given:
            assert origin.path.name in str(error.value)
    with pytest.raises(InductionError, match=named):
        check_together(given, of_one)


@pytest.mark.parametrize(
    ("given", "of_one"),
    [
        ([BLOCK, HEADS, EVALUATION, of("probes", corpus="c")], "model"),
        ([HEADS, of("older")], "model"),
        ([HEADS, of("heads", "n", "s", "c", "e"), of("heads", "o", "t", "d", "f"), EVALUATION, OTHER], "study"),
        ([HEADS, of("heads", "n", "s", "d", "f"), of("pca", recipe="r,s", corpus="c,d", evaluation="e,f")], "study"),
        ([], "study"),
    ],
)
def test_files_that_belong_together_pass(given, of_one):
    check_together(given, of_one)


def test_an_identity_that_the_study_does_not_expect_is_refused(tmp_path):
    with running_as("old"):
        path = losses(tmp_path / "model=m/part.parquet")
    check_expected([origin_of(path)], {path: "old"})
    check_expected([origin_of(path)], {})
    with pytest.raises(InductionError, match=r"part.parquet: does not belong .* identity old, .* expects new.*rm "):
        check_expected([origin_of(path)], {path: "new"})
    assert is_stale(path, "new")
    assert not is_stale(path, "old")
    by_hand = losses(tmp_path / "model=m/other.parquet")
    with pytest.raises(InductionError, match="carries no identity"):
        check_expected([origin_of(by_hand)], {by_hand: "new"})
    assert not is_stale(by_hand, "new"), "of one that says nothing nothing is known"
    by_hand.write_bytes(b"cut")
    assert not is_stale(by_hand, "new")


def test_what_is_made_of_several_parts_names_each_fingerprint_once(tmp_path):
    parts = [losses(tmp_path / f"model=m/{n}.parquet", recipe="r", corpus="c", evaluation="e") for n in range(2)]
    assert provenance_of(parts) == {"recipe": "r", "corpus": "c", "evaluation": "e"}
    other = losses(tmp_path / "model=n/0.parquet", recipe="s", corpus="c", evaluation="e")
    assert joined(map(origin_of, [*parts, other])) == {"recipe": "r,s", "corpus": "c", "evaluation": "e"}
    PCA.write(tmp_path / "pca.parquet", {name.name: [] for name in PCA.columns}, recipe="r,s", corpus="c")
    assert origin_of(tmp_path / "pca.parquet").recipes == ("r", "s")


@pytest.mark.parametrize("name", ["part.parquet", "probes.safetensors", "manifest.json", "block-0.json", "figure.svg"])
def test_a_file_that_is_missing_or_damaged_is_named(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(InductionError, match=f"{name}.*does not exist"):
        origin_of(path)
    path.write_bytes(b"\xff\xfe damaged")
    with pytest.raises(InductionError, match=name):
        origin_of(path)


def test_headers_hold_plain_json(tmp_path):
    path = arrays(tmp_path / "probes.safetensors", {"corpus": "c"}, "repeated")
    size = int.from_bytes(path.read_bytes()[:8], "little")
    about = json.loads(json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]["induction"])
    assert about["identity"] == ""
