"""YAML is read by version 1.2; what would be lost, or taken for something else, is refused by file and line."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from induction.errors import InductionError
from induction.study.reading import read_yaml

ROOT = Path(__file__).parents[2]


def read(folder, text):
    path = folder / "some.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path)


@pytest.mark.parametrize(
    ("scalar", "value"),
    [  # section 10.3.2 of YAML 1.2.2
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("true", True), ("False", False),
        ("TRUE", True), ("tRUE", "tRUE"), ("null", None), ("~", None), ("", None), ("1:30", "1:30"), ("1e5", 1e5),
        ("0o17", 15), ("0x1F", 31), ("-12", -12), ("+3", 3), ("0", 0), (".5", 0.5), ("1.", 1.0), ("6.0e-4", 6.0e-4),
        ("1_000", "1_000"), ("2024-02-31", "2024-02-31"), ("2024-01-01", "2024-01-01"), ("=", "="), ("0b11", "0b11"),
        ('"007"', "007"), ("'yes'", "yes"), ("-.inf", -float("inf")), ("1e400", float("inf")), ("!!str 7", "7"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_the_core_schema(tmp_path, scalar, value):
    found = read(tmp_path, f"a: {scalar}")["a"]
    assert (type(found), found) == (type(value), value)


def test_keys_are_text_as_written(tmp_path):
    text = "007: a\n1e5: b\n2024: c\nyes: d\ntrue: e\nnull: f\n0x1f: g\n1:30: h\n'8': i\n"
    keys = ["007", "1e5", "2024", "yes", "true", "null", "0x1f", "1:30", "8"]
    assert read(tmp_path, text) == dict(zip(keys, "abcdefghi", strict=True))


BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", "the key c stands twice, on line 3 and on line 5"),
        ("a: 1\n'a': 2\n", "the key a stands twice, on line 1 and on line 2"),
        ("007: 1\n'007': 2\n", "the key 007 stands twice"),
        ("<<: {a: 1}\n<<: {b: 2}\n", "the key << stands twice, on line 1 and on line 2; write <<: [*one, *other]"),
        ("a: 030\n", '030 is a different number in YAML 1.1 and 1.2; write the number without its leading zeros, or "030"'),
        ("a: [00]\n", "00 is a different number"),
        ("a: -07\n", "-07 is a different number"),
        ("a: !!timestamp 2024-13-45\n", "the tag !!timestamp is not permitted"),
        ("a: !!python/object/apply:os.getcwd []\n", "the tag !!python/object/apply:os.getcwd is not permitted"),
        ("a: !!set {b, c}\n", "the tag !!set is not permitted"),
        ("a: !mine 3\n", "the tag !mine is not permitted"),
        ("a: !!int many\n", "many does not have the type of its tag, !!int"),
        ("a: !!bool 1\n", "1 does not have the type of its tag, !!bool"),
        (BOMB, "more than 200,000 values"),
        ("[" * 5000, "more than 50 levels of nesting (line 1, column 51)"),
        ("a: &a [*a]\n", "an alias inside of what it repeats (line 1"),
        ("a0: &a0 1\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 200)), "more than 50 levels of nesting"),
        ("? [a, b]\n: 1\n", "a list or mapping as a key"),
        ("? {a: 1}\n: 1\n", "a list or mapping as a key"),
        ("a: *nowhere\n", "found undefined alias 'nowhere' (line 1, column 4)"),
        ("<<: 3\n", "<< merges mappings"),
        ("a: " + "9" * 5000 + "\n", "a number of 5,000 characters"),
        ("a: 1\n---\nb: 2\n", "expected a single document in the stream, but found another document (line 2, column 1)"),
        ("a: \x07\n", "unacceptable character #x0007"),
    ],
)  # fmt: skip
def test_what_means_different_things_is_refused_by_line(tmp_path, text, words):
    with pytest.raises(InductionError) as error:
        read(tmp_path, text)
    message = str(error.value)
    assert message.startswith(f"{tmp_path}/some.yaml: not YAML: ")
    assert words in message
    assert "\n" not in message


def test_what_is_not_text_and_what_is_too_large_is_refused(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(InductionError, match="not UTF-8 at byte 3"):
        read_yaml(path)
    path.write_text("#" * 4_000_001)
    with pytest.raises(InductionError, match="larger than 4 MB"):
        read_yaml(path)
    with pytest.raises(InductionError, match="cannot be read"):
        read_yaml(tmp_path)


def test_merges_give_a_mapping_what_it_does_not_say_itself(tmp_path):
    text = "one: &one {a: 1, b: 1}\ntwo: &two {b: 2, c: 2}\nboth: {<<: [*one, *two], c: 3}\nnested: {<<: {<<: *two, b: 4}}\n"
    found = read(tmp_path, text)
    assert found["both"] == {"a": 1, "b": 1, "c": 3}
    assert found["nested"] == {"b": 4, "c": 2}
    assert found["both"] == yaml.safe_load(text)["both"]


@pytest.mark.parametrize("name", ["config/config.yaml", "config/models.yaml", "profiles/slurm/site.yaml", "profiles/slurm/site-8-gpus.yaml", "profiles/slurm/site-many-nodes.yaml"])  # fmt: skip
def test_the_files_of_this_repository_mean_the_same_in_both_versions_of_yaml(name):
    """An independent reader of YAML 1.1 finds the same values, of the same types, in the same order."""
    assert repr(read_yaml(ROOT / name)) == repr(yaml.safe_load((ROOT / name).read_text(encoding="utf-8")))


@given(st.text(alphabet="ab01-:.,_&*<>!|\"'[]{}#?% \n~xoe", max_size=60))
def test_any_text_is_read_or_refused_in_one_sentence(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8")
    refused = ""
    try:
        read_yaml(path)
    except InductionError as error:
        refused = str(error)
    assert not refused or (refused.startswith(f"{path}: not YAML: ") and "\n" not in refused)
