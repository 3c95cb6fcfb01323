"""The page: templates, style and scripts put together into one file."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from induction.identity import job_identity
from induction.palette import CLASS_COLOURS
from induction.report import numbers
from induction.report.content import Content, Model
from induction.report.pictures import Drawing, Picture
from induction.report.provenance import Provenance
from induction.report.scatters import Plot
from induction.report.verdicts import SYMBOLS, Claim, counts_of

_HEADLINE = "phase_change"
"""The figure of the summary, where the study draws it; else the first one."""

_PLOTLY = {
    "responsive": True,
    "displaylogo": False,
    "modeBarButtonsToRemove": ["toImage", "select2d", "lasso2d", "autoScale2d"],
    "plotlyServerURL": "",
    "showSendToCloud": False,
    "showEditInChartStudio": False,
}


def rendered(
    content: Content,
    *,
    claims: list[Claim],
    orders: list[list[dict[str, Any]]],
    pictures: list[Picture],
    page_caption: Markup | None,
    pages: list[tuple[str, Drawing]],
    passages: list[dict[str, Any]],
    ways: list[Plot],
    scores: list[Plot],
    corpora: list[dict[str, Any]],
    provenance: Provenance,
) -> str:
    """Return the page as HTML."""
    environment = Environment(
        loader=PackageLoader("induction.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "ensure_ascii": False}
    environment.filters |= {
        "number": numbers.number,
        "with_interval": numbers.with_interval,
        "count": numbers.count,
        "millions": numbers.millions,
        "duration": numbers.duration,
        "with_code": numbers.with_code,
        "yaml": _as_yaml,
    }
    headline = next((one for one in pictures if one.figure.name == _HEADLINE), pictures[0] if pictures else None)
    return environment.get_template("report.html.j2").render(
        content=content,
        trained=trained(content.models),
        claims=claims,
        counts=counts_of(claims),
        symbols=SYMBOLS,
        orders=orders,
        pictures=pictures,
        headline=headline,
        page_caption=page_caption,
        pages=pages,
        passages=passages,
        ways=ways,
        scores=scores,
        plots={plot.name: {"data": plot.data, "layout": plot.layout} for plot in (*ways, *scores)},
        plotly_settings=_PLOTLY,
        class_colours=CLASS_COLOURS,
        corpora=corpora,
        provenance=provenance,
        identity=job_identity(),
        style=_asset("style.css"),
        scripts=[_asset("page.js"), _asset("viewer.js")],
        plotly=Markup(get_plotlyjs()) if ways or scores else None,  # a package's own script
    )


def trained(models: Sequence[Model]) -> str:
    """Return in a sentence which models were trained, on what, and for how long."""
    if not models:
        return "No model is trained yet."
    kinds: dict[str, list[Model]] = {}
    for model in models:
        kinds.setdefault(model.label, []).append(model)
    shapes = "; ".join(f"{label} ({_depths(group)}, {_seeds(group)})" for label, group in kinds.items())
    corpora = list(dict.fromkeys(model.corpus for model in models))
    on = f"corpus {corpora[0]}" if len(corpora) == 1 else f"corpora {', '.join(corpora)}"
    least, most = (numbers.millions(bound(model.tokens for model in models)) for bound in (min, max))
    tokens = least if least == most else f"{least} to {most}"
    what = "1 model was trained" if len(models) == 1 else f"{len(models)} models were trained"
    return f"{what}, on {tokens} tokens of {on}: {shapes}."


def _depths(models: Sequence[Model]) -> str:
    depths = sorted({model.n_layers for model in models})
    return f"{_listed(depths)} layer{'s' if depths != [1] else ''}"


def _seeds(models: Sequence[Model]) -> str:
    seeds = sorted({model.seed for model in models})
    return f"seed{'s' if len(seeds) > 1 else ''} {_listed(seeds)}"


def _listed(values: Sequence[int]) -> str:
    words = [str(value) for value in values]
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


class _ListsInLine(yaml.SafeDumper):
    """Writes a mapping on lines of its own, and a list of plain values on one."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        plain = not any(isinstance(value, list | dict) for value in sequence)
        return super().represent_sequence(tag, sequence, flow_style=plain)


def _as_yaml(content: Any) -> str:
    return yaml.dump(content, Dumper=_ListsInLine, sort_keys=False, allow_unicode=True, width=100)


def _asset(name: str) -> Markup:
    return Markup((files("induction.report") / name).read_text(encoding="utf-8"))  # the package's own
