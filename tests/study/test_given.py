"""Names that Snakemake takes for numbers or truth values are text, as they were typed."""

import pytest
from snakemake.cli import parse_config

from induction.errors import InductionError
from induction.study.given import text_given, without_braces


@pytest.mark.parametrize(
    "name", ["0", "00", "007", "1e5", "2024", "False", "True", "nan", "1_000", "demo", "null", "0x1f"]
)
def test_a_name_is_what_was_typed_whatever_snakemake_makes_of_it(name):
    arguments = ["site=a.yaml", f"study={name}"]
    assert text_given(parse_config(arguments), "study", arguments) == name
    quoted = [f'study="{name}"']
    assert text_given(parse_config(quoted), "study", quoted) == name


def test_the_last_of_several_counts():
    arguments = ["study=demo", "study=007"]
    assert text_given(parse_config(arguments), "study", arguments) == "007"


def test_what_is_not_given_is_none():
    assert text_given({}, "study", []) is None
    assert text_given({"site": None}, "site", []) is None  # site: null in a configuration file


def test_nothing_behind_the_sign_is_refused():
    arguments = ["study="]
    with pytest.raises(InductionError, match=r"^--config study=: nothing stands behind"):
        text_given(parse_config(arguments), "study", arguments)


@pytest.mark.parametrize("value", [7, 0, False, 1e5, ["a"]])
def test_a_number_in_a_configuration_file_is_refused_with_the_hint_to_quote(value):
    with pytest.raises(InductionError, match=r"^study: .* is not text. Put it in quotes"):
        text_given({"study": value}, "study", ["site=a.yaml"])


@pytest.mark.parametrize("folder", ["/home/me/a{b}c", "/home/{me", "/home/me}"])
def test_a_checkout_in_a_folder_with_braces_is_refused(folder):
    with pytest.raises(InductionError, match="braces"):
        without_braces(folder)
    assert str(without_braces("/home/a b'c$")) == "/home/a b'c$"
