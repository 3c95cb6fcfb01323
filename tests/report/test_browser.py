"""The report in a real browser: it asks for nothing, complains of nothing, and answers to mouse and keys."""

import json

import pytest
from browser import CHROMIUM, open_browser
from planted_report import FROM, HEADS, MODELS, TO, TOKENS, claim_rows, planted_content

from induction.report.stage import report
from induction.tables.claims import ALL

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine; CI installs it")

N_SUBJECTS = sum(row["subject"] != ALL for row in claim_rows())
SHADES = "[...document.querySelectorAll('#viewer-text .token')].map((one) => one.style.backgroundColor)"
SHADE_OF = {"attention": "rgb(71, 71, 71)", "above": "rgb(178, 28, 43)", "below": "rgb(55, 117, 180)"}
"""Of 0.9 of all attention (255 - 0.9 x 204); the last shade; and 0.81 of 0.9 of the way to the last one below zero."""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    report(planted_content(folder), folder / "report.html")
    with open_browser(folder / "profile") as opened:
        opened.file = folder / "report.html"
        yield opened


@pytest.fixture
def fresh(page):
    page.open(page.file)
    yield page
    assert page.complaints == []
    assert page.requests == [page.file.as_uri()]


def token(at):
    return f'#viewer-text [data-at="{at}"]'


def chosen(page):
    return page.js("document.querySelector('#viewer-text .query').dataset.at")


def values_of(page, name):
    return json.loads(page.js(f"JSON.stringify([...document.getElementById('{name}').options].map((one) => one.text))"))


def test_the_page_asks_for_nothing_and_complains_of_nothing(fresh):
    assert fresh.js("document.title") == "Induction heads: study planted"
    assert fresh.js("document.scripts.length") == 5, "hostile names and tokens made none"


def test_nothing_can_leave_the_page(page):
    page.open(page.file)
    refused = """new Promise((told) => {
        document.addEventListener("securitypolicyviolation", (event) => told(event.effectiveDirective), {once: true});
        %s;
    })"""
    assert page.js(refused % "new Image().src = 'http://127.0.0.1:9/x.png'") == "img-src"
    assert page.js(refused % "fetch('http://127.0.0.1:9/').catch(() => 0)") == "connect-src"


def test_plotly_drew_every_point(fresh):
    n_points = "document.querySelectorAll('#{0} .point').length - Number(document.getElementById('{0}').dataset.points)"
    for name in ("pca-1", "heads-copying", "heads-previous-token"):
        assert fresh.js(n_points.format(name)) == 0, name
        assert fresh.js(f"Number(document.getElementById('{name}').dataset.points)") > len(MODELS)
        assert (
            fresh.js(f"document.querySelectorAll('#{name} .modebar-btn--logo, #{name} .modebar a[href]').length") == 0
        )


def test_pointing_at_a_plots_point_names_the_head(fresh):
    fresh.point_at("#heads-copying .trace:first-child .point")
    fresh.js("new Promise((done) => setTimeout(done, 300))")
    said = fresh.js("document.querySelector('#heads-copying .hoverlayer').textContent")
    assert "attn-2l-s0" in said
    assert "layer 1 head 1, induction" in said


def test_a_token_pointed_at_shades_what_it_looks_at(fresh):
    assert fresh.js("document.getElementById('viewer-model').selectedOptions[0].text") == MODELS[1].name
    assert values_of(fresh, "viewer-head") == [f"layer {a} head {b}, {kind}" for (a, b), kind in HEADS.items()]
    assert chosen(fresh) == str(FROM), "the look that tells most is shown first"
    before = fresh.js(SHADES)
    assert [at for at, shade in enumerate(before) if shade] == [TO]
    assert before[TO] == SHADE_OF["attention"]
    fresh.point_at(token(4))
    assert chosen(fresh) == "4"
    assert [at for at, shade in enumerate(fresh.js(SHADES)) if shade] == [3]
    fresh.point_at("#viewer-key")
    assert fresh.js(SHADES) == before, "the chosen token comes back"
    fresh.click(token(4))
    fresh.point_at("#viewer-key")
    assert chosen(fresh) == "4"


def test_keys_choose_tokens_and_the_words_follow(fresh):
    fresh.click(token(FROM))
    for key, at in (("ArrowLeft", FROM - 1), ("Home", 1), ("ArrowLeft", 1), ("End", len(TOKENS) - 1), ("ArrowUp", 5)):
        fresh.press(key)
        assert fresh.js("document.activeElement.dataset.at") == str(at)
        assert chosen(fresh) == str(at)
    said = fresh.js("document.getElementById('viewer-said').textContent")
    assert "</script>" in said
    assert f"{TOKENS[TO]} index 42 90%" in said
    assert said.endswith("not shown: 10%.")


def test_attribution_is_shaded_with_its_sign(fresh):
    fresh.click("input[value=attribution]")
    shades = fresh.js(SHADES)
    assert {at: shade for at, shade in enumerate(shades) if shade} == {TO: SHADE_OF["above"], 1: SHADE_OF["below"]}
    for at, sign in ((TO, "solid"), (1, "dashed")):
        style = fresh.js(f"getComputedStyle(document.querySelector('{token(at)}')).textDecorationStyle")
        assert style == sign, "signs are told apart in grey too"
    assert "−0.81" in fresh.js("document.getElementById('viewer-said').textContent")


def test_another_head_and_model_can_be_chosen(fresh):
    pick = "(() => {{ const one = document.getElementById('{}'); one.value = {}; one.dispatchEvent(new Event('change')); }})()"
    fresh.js(pick.format("viewer-head", 0))
    assert [at for at, shade in enumerate(fresh.js(SHADES)) if shade] == [FROM - 1], "the previous-token head"
    fresh.js(pick.format("viewer-model", 1))
    assert [at for at, shade in enumerate(fresh.js(SHADES)) if shade] == [TO], "its induction head comes first"
    texts = fresh.js("[...document.querySelectorAll('#viewer-text .token')].map((one) => one.textContent)")
    assert texts == [one.replace(" ", "\u00a0").replace("\n", "↵\n") for one in TOKENS]


def test_subjects_unfold(fresh):
    shown = "[...document.querySelectorAll('tr.subject')].filter((one) => one.offsetHeight).length"
    assert fresh.js(shown) == 0
    fresh.click("#claim-2 .more")
    assert fresh.js(shown) == 2
    assert fresh.js("document.querySelector('#claim-2 .more').ariaExpanded") == "true"
    fresh.click("#claim-2 .more")
    assert fresh.js(shown) == 0


def test_print_shows_all_that_is_folded_and_nothing_that_is_only_for_screens(fresh):
    fresh.send("Emulation.setEmulatedMedia", media="print")
    try:
        visible = "[...document.querySelectorAll('{}')].filter((one) => one.checkVisibility()).length"
        assert fresh.js(visible.format("tr.subject")) == N_SUBJECTS
        assert fresh.js(visible.format("nav, .more, .controls, .skip")) == 0
        assert fresh.js("matchMedia('print').matches")
        fresh.js("window.dispatchEvent(new Event('beforeprint'))")
        assert fresh.js("document.querySelectorAll('details:not([open])').length") == 0
        fresh.js("window.dispatchEvent(new Event('afterprint'))")
        assert fresh.js("document.querySelectorAll('details:not([open])').length") > 29
    finally:
        fresh.send("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_is_no_wider_than_its_window(fresh, width):
    fresh.open(fresh.file, width=width)
    assert fresh.js("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
