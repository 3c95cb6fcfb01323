"""The JSON schemas of the configuration and of site files: editors complete and check the YAML files by them."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from induction.files import write_json
from induction.study.config import ConfigFile, ModelsFile
from induction.study.site import Site

SCHEMAS: dict[str, type[BaseModel]] = {
    "config.schema.json": ConfigFile,
    "models.schema.json": ModelsFile,
    "site.schema.json": Site,
}


def schemas() -> dict[str, Any]:
    """Return each file's name and content."""
    return {name: json.loads(json.dumps(model.model_json_schema())) for name, model in SCHEMAS.items()}


def write_schemas(folder: Path) -> None:
    """Write all schemas into a folder."""
    for name, content in schemas().items():
        write_json(folder / name, content)
