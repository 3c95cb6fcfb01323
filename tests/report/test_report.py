"""The report, read back as HTML: what it says is what the tables hold, and nothing in it leads out of it."""

import base64
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from parsed import parsed
from planted_report import (
    FIRST,
    HEADS,
    HOSTILE,
    MODELS,
    NAMED,
    ORDERS_PLANTED,
    PLANTED,
    TOKENS,
    attention,
    attribution,
    claim_rows,
    drawing,
    planted_content,
)

from induction.analyse.claims.registry import COMMON_RULE
from induction.errors import InductionError
from induction.files import sha256_file
from induction.report.numbers import duration, with_interval
from induction.report.stage import report
from induction.tables.claims import ALL, CLAIMS, INCONCLUSIVE, VERDICTS
from induction.tables.schemas import TABLES
from induction.tables.table import table_of

STRONG = {(0, 2): 3 * PLANTED, (1, 1): PLANTED}
"""The last hundredth left out: of 27 attributions, the second in size."""
NUMBERS = ("estimate", "estimate_low", "estimate_high", "chance", "chance_adjusted", "window_support")
SYMBOLS = dict(zip(VERDICTS, "✓✗?", strict=True))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    content = planted_content(folder)
    report(content, folder / "report.html")
    return content, parsed(folder / "report.html")


def section(made, name):
    return made[1].only("section", id=name)


def numbers_of(element):
    """Numbers as they are and as they are written; these are those, rounded to the digits written."""
    found = []
    for one in element.find("data"):
        value, text = float(one["value"]), one.text.replace(",", "").replace("−", "-")
        decimals = len(text.partition(".")[2])
        trailing = len(text) - len(text.rstrip("0")) if not decimals else 0
        assert abs(float(text) - value) <= 0.5000001 * 10.0 ** (trailing - decimals)
        found.append(value)
    return found


def test_every_claim_stands_with_its_words_numbers_and_verdicts(made):
    bodies = section(made, "claims").only("table").find("tbody")
    assert [int(body["data-claim"]) for body in bodies] == list(range(1, 30))
    rows = claim_rows()
    for body in bodies:
        whole, *subjects = [row for row in rows if row["claim"] == int(body["data-claim"])]
        first, *others = body.find("tr")
        amended = whole["amended"]
        assert first.only("details").words == (
            f"Rule, amended{whole['rule']} Amended: {amended}" if amended else f"Rule{whole['rule']}"
        ).replace("`", "")
        assert {whole["statement"], whole["paper"], whole["reason"]} <= {
            "".join(child for child in cell.children if isinstance(child, str)).strip() for cell in first.find("td")
        }
        for told, shown in zip([whole, *subjects], [first, *others], strict=True):
            assert shown.only(class_="verdict").words == f"{SYMBOLS[told['verdict']]} {told['verdict']}"
        for told, shown in zip(subjects, others, strict=True):
            assert numbers_of(shown) == [told[name] for name in NUMBERS]
            assert {told["subject"], told["reason"]} <= {cell.text for cell in shown.find("td")}
            assert "interval over seeds; 3 seeds" in shown.words
        estimates = sorted(row["estimate"] for row in subjects)
        if len(subjects) == 1:  # The figure of the only subject stands for the claim.
            assert numbers_of(first) == numbers_of(others[0])
        else:
            weighed = [whole[name] for name in NUMBERS[3:]] if subjects else []
            assert numbers_of(first) == estimates[:: max(1, len(estimates) - 1)] + weighed


def test_what_all_rules_have_in_common_stands_before_them(made):
    common = section(made, "claims").only("details", class_="common-rule")
    assert common.words == f"Common to all rules{COMMON_RULE}".replace("`", "")


def test_a_study_without_the_figure_case_studies_gets_its_report(tmp_path):
    content = planted_content(tmp_path)
    content["tables"] = [path for path in content["tables"] if table_of(Path(path)) != "case_studies"]
    report(content, tmp_path / "report.html")
    page = parsed(tmp_path / "report.html")
    assert len(page.only("section", id="claims").only("table").find("tbody")) == 29
    assert not page.find(id="viewer")
    assert "a study that draws the figure case_studies has one" in page.only("section", id="heads").words


def test_the_summary_counts_the_verdicts_of_whole_claims(made):
    counts = Counter(row["verdict"] for row in claim_rows() if row["subject"] == ALL)
    shown = section(made, "summary").only("dl")
    assert [int(one.text) for one in shown.find("dd")] == [counts[verdict] for verdict in VERDICTS]
    assert [one.words[2:] for one in shown.find("dt")] == list(VERDICTS)


def test_what_could_not_be_told_is_listed_with_its_reason(made):
    lists = section(made, "inconclusive").find("dl")
    rows = claim_rows()
    wholes = {row["claim"]: row for row in rows if row["subject"] == ALL}
    inconclusive = [number for number, row in wholes.items() if row["verdict"] == INCONCLUSIVE]
    assert [one.only("a")["href"] for one in lists[0].find("dt")] == [f"#claim-{number}" for number in inconclusive]
    of_subjects = [row for row in rows if row["subject"] != ALL and row["verdict"] == INCONCLUSIVE]
    said = " ".join(one.words for one in lists)
    assert all(f"{row['subject']}: {row['reason']}" in said for row in of_subjects)
    assert all(wholes[number]["reason"] in said for number in inconclusive if number % 3 == 0)


def test_orders_stand_with_their_probabilities_the_likeliest_first(made):
    rows = section(made, "orders").only("tbody").find("tr")
    assert [row.find("td")[0].words for row in rows] == ["previous token < ICL", "ICL < previous token"]
    named = ("probability", "probability_low", "probability_high")
    assert [numbers_of(row) for row in rows] == [[ORDERS_PLANTED[name][at] for name in named] for at in (1, 0)]


def test_captions_are_rendered_with_their_counts(made):
    figures = section(made, "figures").find("article")
    assert [one.only("h3").text for one in figures] == ["Figure 1. The phase change", "Figure 2. What the weights say"]
    caption = figures[0].only("figcaption")
    assert "n = 768 evaluation examples" in caption.words
    assert "snakemake" not in caption.text
    assert len(caption.find("li")) == 3
    assert "phases" in [one.text for one in caption.find(class_="literal")]
    image = figures[0].only("img")
    assert image["aria-describedby"] == caption["id"]


def test_pages_of_models_have_their_caption_once(made):
    pages = section(made, "pages")
    assert pages.words.count("n = 768 evaluation examples") == 1
    assert "snakemake" not in pages.text


def test_drawings_are_held_as_data_and_described(made):
    prefix = "data:image/svg+xml;base64,"
    images = made[1].find("img")
    assert all(one["src"].startswith(prefix) and one["alt"] for one in images)
    held = [base64.b64decode(one["src"].removeprefix(prefix)) for one in images]
    names = ["phase_change", "phase_change", "circuits", "page-0", "page-1"]
    assert held == [drawing(name) for name in names]


def test_nothing_leads_out_of_the_page(made):
    page = made[1]
    for one in page.all:
        for name, value in one.attributes.items():
            if name in {"src", "href", "action", "data", "poster", "srcset", "formaction", "xlink:href"}:
                assert value.startswith(("#", "data:")), f"<{one.tag} {name}={value[:80]}>"
            assert "url(" not in (value or "")
    styles = "".join(one.text for one in page.find("style"))
    assert "url(" not in styles
    assert "@import" not in styles
    policy = page.only("meta", **{"http-equiv": "Content-Security-Policy"})["content"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    targets = {one["href"][1:] for one in page.find("a") if one["href"] != "#"}
    assert targets <= {one.attributes.get("id") for one in page.all}


def test_every_id_is_given_once(made):
    ids = [one["id"] for one in made[1].all if "id" in one.attributes]
    assert len(ids) == len(set(ids))


def test_hostile_text_stays_text(made):
    page = made[1]
    assert HOSTILE in section(made, "summary").only(class_="lead").text
    assert NAMED.name in [one.text for one in section(made, "pages").find("summary")]
    assert not [one for one in page.all if any(name.startswith("on") for name in one.attributes)]
    assert not page.find("i")
    scripts = page.find("script")
    kinds = Counter(one.attributes.get("type") for one in scripts)
    assert kinds == {"application/json": 2, None: 3}, "two of data; plotly, the page's and the viewer's"
    plots = json.loads(page.only("script", id="plots").text)["plots"]
    names = [trace["name"] for trace in plots["pca-1"]["data"]]
    assert names == ["&lt;img src=x onerror=alert(1)&gt;-1l-s0", "attn-2l-s0"]


def test_the_viewer_holds_the_table(made):
    models = json.loads(made[1].only("script", id="viewer-passages").text)
    assert sorted(model["name"] for model in models) == sorted(model.name for model in MODELS)
    for model in models:
        assert [(one["layer"], one["head"], one["chosen"]) for one in model["heads"]] == [
            (*place, kind) for place, kind in HEADS.items()
        ]
        for one, place in zip(model["heads"], HEADS, strict=True):
            assert one["tokens"] == TOKENS
            assert one["index"] == [0, *range(FIRST, FIRST + len(TOKENS) - 1)]
            for name, planted in (("attention", attention(place)), ("attribution", attribution(place))):
                for query, row in enumerate(one[name], start=1):
                    np.testing.assert_allclose(row, planted[query, : query + 1], rtol=1e-4)
            assert one["strong"] == pytest.approx(STRONG[place])


def test_plots_hold_every_row(made):
    content, page = made
    parts = {
        name: [path for path in map(Path, content["tables"]) if table_of(path) == name] for name in ("heads", "pca")
    }
    plots = json.loads(page.only("script", id="plots").text)["plots"]
    pca = TABLES["pca"].read(parts["pca"])
    points = {(x, y) for trace in plots["pca-1"]["data"] for x, y in zip(trace["x"], trace["y"], strict=True)}
    assert points == set(pca.select("pc1", "pc2").iter_rows())
    heads = TABLES["heads"].read(parts["heads"])
    heads = heads.filter(step=heads["step"].max())
    for name, other in (("heads-copying", "copying"), ("heads-previous-token", "previous_token")):
        traces = plots[name]["data"]
        points = sorted((x, y) for trace in traces for x, y in zip(trace["x"], trace["y"], strict=True))
        assert points == sorted(heads.select("prefix_matching", other).iter_rows())
        (induction,) = (trace for trace in traces if trace["name"] == "induction")
        assert "layer 1 head 1, induction" in induction["text"][0]
        assert int(page.only(id=name)["data-points"]) == len(heads)
    ends = [trace["marker"]["symbol"] for trace in plots["pca-1"]["data"]]
    assert [sorted(set(symbols)) for symbols in ends] == [["circle"], ["circle", "circle-open", "square-open"]]


def test_provenance_tells_hashes_costs_and_versions(made):
    content, _ = made
    shown = section(made, "provenance")
    hashes = dict(zip(*[iter(one.text for one in row_cells(shown, "Hashes of files"))] * 2, strict=True))
    claims, manifest = Path(content["claims"]), Path(content["manifests"][0])
    pca = next(Path(path) for path in content["tables"] if path.endswith("pca.parquet"))
    assert hashes["tables/claims.parquet"] == sha256_file(claims)
    assert hashes["tables/pca.parquet"] == sha256_file(pca)
    assert hashes["text/manifest.json"] == sha256_file(manifest)
    total = shown.only("tfoot").only("tr")
    assert [cell.text for cell in total.children] == ["all", "5", "1 h 02 min", "31 min 03 s", "900"]
    assert re.search(r"Python \d+\.\d+\.\d+, platform \w+", shown.words)
    assert "polars" in shown.only(class_="packages").text
    assert "previous_token: 0.3" in section(made, "configuration").text


def row_cells(shown, label):
    body = shown.only(**{"aria-label": label}).only("tbody")
    return [cell for row in body.find("tr") for cell in row.find() if cell.tag in ("th", "td")]


def test_the_same_inputs_give_the_same_bytes_wherever_they_lie(tmp_path):
    pages = []
    for name in ("here", "there/deeper"):
        folder = tmp_path / name
        report(planted_content(folder), folder / "report.html")
        pages.append((folder / "report.html").read_bytes())
    assert pages[0] == pages[1]
    assert str(tmp_path).encode() not in pages[0]


def test_a_study_that_measured_nothing_says_so(tmp_path):
    report(planted_content(tmp_path, partial=True), tmp_path / "report.html")
    page = parsed(tmp_path / "report.html")
    for name, n_times in {"orders": 1, "figures": 1, "pages": 1, "heads": 1, "scatters": 2, "provenance": 1}.items():
        said = page.only("section", id=name).find(class_="nothing")
        assert [one.text for one in said] == ["Nothing measured yet."] * n_times, name
    assert [one.words for one in page.find(class_="none")] == ["no figure"] * 29
    assert "1 model was trained, on 8.11 million tokens of corpus text" in page.only("section", id="summary").words
    assert not page.find("button")
    assert not any("plotly" in one.text for one in page.find("script")), "there is nothing to plot"


def test_claims_without_any_row_are_nothing_measured(tmp_path):
    content = planted_content(tmp_path, partial=True)
    with CLAIMS.writer(Path(content["claims"])):
        pass
    report(content, tmp_path / "report.html")
    page = parsed(tmp_path / "report.html")
    for name in ("summary", "claims", "inconclusive"):
        assert page.only("section", id=name).only(class_="nothing").text == "Nothing measured yet."


@pytest.mark.parametrize("which", ["claims", "orders", "svg", "caption", "table", "manifest", "page"])
def test_a_missing_file_is_named(tmp_path, which):
    content = planted_content(tmp_path)
    gone = {
        "claims": lambda: content["claims"],
        "orders": lambda: content["orders"],
        "svg": lambda: content["figures"][1]["svg"],
        "table": lambda: content["tables"][0],
        "manifest": lambda: content["manifests"][0],
        "page": lambda: content["pages"][0]["svg"],
    }
    if which == "caption":
        path = content["figures"][0]["caption"] = str(tmp_path / "none.rst")
    else:
        path = gone[which]()
        Path(path).unlink()
    with pytest.raises(InductionError, match=re.escape(path)):
        report(content, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("caption", ["{{ snakemake.params.counts[ }}", "`no end <x>`_ and :nothing:`x`\n\n===\n", ""])
def test_a_caption_that_is_none_is_told(tmp_path, caption):
    content = planted_content(tmp_path)
    path = tmp_path / "own.rst"
    path.write_text(caption)
    content["figures"][0]["caption"] = str(path)
    if caption:
        with pytest.raises(InductionError, match=r"own\.rst: not a caption"):
            report(content, tmp_path / "report.html")
    else:
        report(content, tmp_path / "report.html")
        titles = parsed(tmp_path / "report.html").find("h3", id="title-phase_change")
        assert [one.text for one in titles] == ["Figure 1. phase change"]


def test_a_caption_reads_no_file_and_holds_no_markup(tmp_path):
    content = planted_content(tmp_path)
    path = tmp_path / "own.rst"
    content["figures"][0]["caption"] = str(path)
    for directive in (".. raw:: html\n\n   <b>x</b>", f".. include:: {tmp_path / 'own.rst'}"):
        path.write_text(directive)
        with pytest.raises(InductionError, match=r"own\.rst"):
            report(content, tmp_path / "report.html")


def test_unknown_words_and_tables_are_refused(tmp_path):
    content = planted_content(tmp_path, partial=True)
    with pytest.raises(InductionError, match=r"content of the report: figure: unknown field.*Did you mean figures"):
        report({**content, "figure": []}, tmp_path / "report.html")
    with pytest.raises(InductionError, match=r"no table is called head\..*Did you mean heads"):
        report({**content, "tables": ["results/head/model=a/part.parquet"]}, tmp_path / "report.html")


def test_a_claim_without_a_verdict_as_a_whole_is_refused(tmp_path):
    content = planted_content(tmp_path)
    rows = [row for row in claim_rows() if (row["claim"], row["subject"]) != (2, ALL)]
    CLAIMS.write(Path(content["claims"]), {name: [row[name] for row in rows] for name in rows[0]})
    with pytest.raises(InductionError, match=r"claims\.parquet: claim 2 has no row of subject all"):
        report(content, tmp_path / "report.html")


@pytest.mark.parametrize(
    ("numbers", "written"),
    [
        ((-0.31234, -0.3512, -0.2799), "−0.312 [−0.351, −0.280]"),
        ((2_712_345, 2_612_000, 2_801_000), "2,710,000 [2,610,000, 2,800,000]"),
        ((0.5, 0.5, 0.5), "0.500 [0.500, 0.500]"),
        ((-0.0001, -0.2, 0.2), "0.00 [−0.20, 0.20]"),
        ((12.34567, None, None), "12.3"),
        ((None, None, None), "—"),
    ],
)
def test_numbers_are_rounded_to_their_interval(numbers, written):
    assert re.sub(r"<[^>]*>", "", str(with_interval(*numbers))) == written


@pytest.mark.parametrize(
    ("seconds", "written"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (3599.4, "59 min 59 s"), (7260, "2 h 01 min")]
)
def test_times_are_written_in_units_of_their_size(seconds, written):
    assert duration(seconds) == written


def test_a_corpus_says_how_much_held_out_text_training_has_seen(made, tmp_path):
    content, page = made
    words = "1.23% of runs of 50 tokens; 1 document by more than half; 7 dropped (4.56% with them)"
    assert words in {cell.words for cell in page.only("section", id="provenance").find("td")}
    manifest = json.loads(Path(content["manifests"][0]).read_text(encoding="utf-8"))
    del manifest["overlap"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    report({**content, "manifests": [str(tmp_path / "manifest.json")]}, tmp_path / "report.html")
    cells = {cell.words for cell in parsed(tmp_path / "report.html").find("td")}
    assert "not measured: the corpus was built by an earlier version" in cells
