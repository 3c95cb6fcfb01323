"""What a report is made of: where its figures and tables lie, and what the study says of itself."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from induction.study.analysis import Heads
from induction.study.strict import Closed

_Number = Annotated[float, Field(ge=0)]


class Figure(Closed):
    """A figure of the study."""

    name: str
    svg: Path
    caption: Path
    """reStructuredText with jinja, as in workflow/report."""
    counts: dict[str, int] = Field(default_factory=dict)
    """What the caption says how many there were of, by place in the configuration."""
    command: str = ""
    """What makes the figure again."""


class Caption(Closed):
    """What all pages of models show."""

    path: Path
    """reStructuredText with jinja, as in workflow/report."""
    counts: dict[str, int] = Field(default_factory=dict)
    """What it says how many there were of, by place in the configuration."""


class Page(Closed):
    """All figures of one model, on a page of its own."""

    model: str
    svg: Path


class Model(Closed):
    """What the report says of a model."""

    name: str
    family: str
    label: str
    n_layers: int
    d_model: int
    n_parameters: int
    """Weights of the blocks' matrices, embeddings not counted."""
    corpus: str
    seed: int
    tokens: int
    """Training tokens seen by its last snapshot."""


class Cost(Closed):
    """What all jobs of a stage took."""

    stage: str
    jobs: int
    seconds: _Number
    longest: _Number
    peak_mb: _Number


class Content(Closed):
    """All of a report; figures, pages and costs are shown in the order given."""

    study: str
    description: str = ""
    figures: tuple[Figure, ...] = ()
    pages: tuple[Page, ...] = ()
    page_caption: Caption | None = None
    claims: Path
    orders: Path
    tables: tuple[Path, ...] = ()
    """Parts of tables heads, case_studies, pca, phases and curves; of another table the footer alone is told."""
    configuration: dict[str, Any] = Field(default_factory=dict)
    models: tuple[Model, ...] = ()
    costs: tuple[Cost, ...] = ()
    manifests: tuple[Path, ...] = ()
    """Of the corpora: CORPUS/manifest.json."""
    heads: Heads = Heads()
