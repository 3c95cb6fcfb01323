"""The captions of the report: they name the numbers that their figures are told, and no others."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from jinja2 import Environment, StrictUndefined

from induction.figures.stage import FIGURES
from induction.study.jobs import Jobs
from induction.study.study import load_study

ROOT = Path(__file__).parents[2]


def caption_of(figure):
    return (ROOT / f"workflow/report/{figure}.rst").read_text(encoding="utf-8")


def rendered(figure, counts):
    """As Snakemake does it; but what is not there is an error, unless a default stands for it."""
    template = Environment(undefined=StrictUndefined).from_string(caption_of(figure))
    return template.render(snakemake=SimpleNamespace(params=SimpleNamespace(counts=counts)))


def counts_of(figure):
    return Jobs(load_study(ROOT)).figure_counts(SimpleNamespace(figure=figure))


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_is_told_the_numbers_that_its_caption_names_and_no_others(figure):
    """So that no other number draws it anew."""
    counts = counts_of(figure)
    assert re.findall(r"params\.(\w+)", caption_of(figure)) == ["counts"] * len(counts)
    assert set(re.findall(r'params\.counts\["([^"]+)"\]', caption_of(figure))) == set(counts)
    text = rendered(figure, counts)
    assert "{{" not in text
    assert all(re.search(rf"\b{count}\b", text) for count in counts.values())
    assert bool(counts) == ("\nn = " in text)


@pytest.mark.parametrize("figure", FIGURES)
def test_a_caption_without_numbers_says_where_they_stand(figure):
    text = rendered(figure, {})
    assert all(place in text for place in counts_of(figure))


def test_the_numbers_are_those_of_the_configuration():
    config = load_study(ROOT).config
    assert counts_of("ablations") == {
        "evaluation.n_examples": config.evaluation.n_examples,
        "ablations.n_examples": config.ablations.n_examples,
    }
    assert counts_of("case_studies") == {"prompts.n_prompts": config.prompts.n_prompts}
    assert counts_of("circuits") == {}
