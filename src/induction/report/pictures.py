"""Figures as the report shows them: drawings as data URIs, captions from reStructuredText."""

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from docutils import nodes
from docutils.core import Publisher, publish_doctree
from docutils.io import DocTreeInput, StringOutput
from docutils.parsers.null import Parser
from docutils.readers.doctree import Reader
from docutils.utils import SystemMessage
from docutils.writers import get_writer_class
from jinja2 import Environment, TemplateError
from markupsafe import Markup

from induction.errors import InductionError
from induction.files import cannot_read, read_svg
from induction.report.content import Figure

_ENLARGED = 1.4
"""Figures are drawn for paper, with small type."""
_PIXELS = {"pt": 96 / 72, "in": 96.0, "px": 1.0, "": 1.0}
_SETTINGS = {
    "halt_level": 2,
    "report_level": 5,
    "warning_stream": False,
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "embed_stylesheet": False,
    "stylesheet_path": None,
}


@dataclass(frozen=True)
class Drawing:
    """An SVG, to be set as <img>: inside one, ids of several drawings cannot clash, and no script runs."""

    uri: str
    width: int | None
    """Pixels at which it is readable; None: it does not say how wide it is."""


@dataclass(frozen=True)
class Picture:
    """A figure with its caption."""

    figure: Figure
    drawing: Drawing
    title: str
    caption: Markup


def drawing_of(path: Path) -> Drawing:
    """Read an SVG.

    Raises:
        InductionError: there is no such file, or it has changed since it was drawn.
    """
    content = read_svg(path, "figure")
    found = re.search(rb"""<svg[^>]*?\swidth=["']([\d.]+)(pt|in|px|)["']""", content[:4096])
    width = round(float(found[1]) * _PIXELS[found[2].decode()] * _ENLARGED) if found else None
    return Drawing("data:image/svg+xml;base64," + base64.b64encode(content).decode(), width)


def picture_of(figure: Figure) -> Picture:
    """Read a figure's drawing and its caption, whose first words in bold are its title.

    Raises:
        InductionError: a file is missing, or the caption is not reStructuredText with jinja.
    """
    title, caption = caption_of(figure.name, figure.caption, figure.counts)
    return Picture(figure, drawing_of(figure.svg), title, caption)


def caption_of(name: str, path: Path, counts: dict[str, int]) -> tuple[str, Markup]:
    """Read a caption; return its title, which is its first words in bold or else its name, and all else.

    Raises:
        InductionError: the file is missing, or it is not reStructuredText with jinja.
    """
    text = _read(path, f"this caption of figure {name} does not exist.").decode("utf-8")
    told = SimpleNamespace(params=SimpleNamespace(counts=counts))
    try:
        rendered = Environment(autoescape=False).from_string(text).render(snakemake=told)  # not HTML yet
        tree = publish_doctree(rendered, settings_overrides={**_SETTINGS, "id_prefix": f"caption-{name}-"})
    except (TemplateError, SystemMessage) as error:
        raise InductionError(f"{path}: not a caption in reStructuredText with jinja: {error}") from None
    return _taken_title(tree) or name.replace("_", " "), _as_html(tree)


def _taken_title(tree: nodes.document) -> str:
    """Take the words in bold out of the first paragraph's beginning and return them, or nothing."""
    first = tree.children[0] if tree.children else None
    if not isinstance(first, nodes.paragraph) or not isinstance(first.children[0], nodes.strong):
        return ""
    title = first.children[0].astext().rstrip(".")
    first.remove(first.children[0])
    if first.children and isinstance(first.children[0], nodes.Text):
        first.replace(first.children[0], nodes.Text(first.children[0].astext().lstrip()))
    return title


def _as_html(tree: nodes.document) -> Markup:
    publisher = Publisher(
        reader=Reader(parser=Parser()),
        writer=get_writer_class("html5")(),
        source=DocTreeInput(tree),
        destination_class=StringOutput,
    )
    publisher.process_programmatic_settings(None, {**_SETTINGS, "output_encoding": "unicode"}, None)
    publisher.publish()
    return Markup(publisher.writer.parts["fragment"])  # docutils escapes text; raw HTML is disabled


def _read(path: Path, missing: str) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise InductionError(f"{path}: {missing}") from None
    except OSError as error:
        raise cannot_read(path, "caption", error) from error
