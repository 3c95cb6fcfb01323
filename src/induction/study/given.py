"""What Snakemake hands over: names, which are text however they look, and its folder."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from induction.errors import InductionError


def text_given(config: Mapping[str, Any], key: str, arguments: Iterable[str]) -> str | None:
    """Return a text of Snakemake's configuration as it was typed.

    Snakemake turns what looks like a number or a truth value into one: `--config study=007` arrives as 7.

    Args:
        config: Snakemake's configuration.
        key: of the text.
        arguments: of --config, as typed: KEY=VALUE.

    Returns:
        The text; None where nothing is given.

    Raises:
        InductionError: nothing stands behind KEY=, or a configuration file of Snakemake holds no text.
    """
    if key not in config:
        return None
    if isinstance(config[key], str):
        return _without_quotes(config[key])
    typed = [value for name, _, value in (argument.partition("=") for argument in arguments) if name.strip() == key]
    if typed and typed[-1].strip():
        return _without_quotes(typed[-1])
    if typed:
        raise InductionError(f"--config {key}=: nothing stands behind the sign. Write --config {key}=NAME.")
    if config[key] is None:
        return None
    raise InductionError(
        f"{key}: {config[key]!r} is not text. Put it in quotes in the configuration file that --configfile or the "
        f'profile names, such as {key}: "007".'
    )


def _without_quotes(text: str) -> str:
    """Return a text without the quotes that keep it text in YAML, which Snakemake may leave there."""
    bare = text.strip()
    return bare[1:-1] if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'" else bare


def without_braces(checkout: str) -> Path:
    """Return the folder of the Snakefile.

    Raises:
        InductionError: it has braces, which Snakemake reads as wildcards in paths of environments, captions and
            rules, and which cannot be escaped there.
    """
    if "{" in checkout or "}" in checkout:
        raise InductionError(
            f"{checkout}: Snakemake reads braces in the path of a workflow as wildcards. Move the checkout to a folder "
            "without { and }."
        )
    return Path(checkout)
