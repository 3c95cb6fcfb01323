"""The lock files pin every package but torch, each of its files by hash, and name no place to get them from."""

import re
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-dev.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def entries(name):
    """Return what a lock file asks for, and the hashes of each."""
    lines = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return [(Requirement(line.split("--hash")[0].strip()), HASH.findall(line), line) for line in lines]


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_pinned_with_hashes_of_its_files(name):
    for requirement, hashes, line in entries(name):
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), line
        assert hashes, line
        assert HASH.sub("", line).split("--") == [HASH.sub("", line)], line  # no option beside the hashes


@pytest.mark.parametrize("name", LOCKS)
def test_no_place_is_named(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"://|@ |--(extra-)?index-url|--find-links|--trusted-host", text)


@pytest.mark.parametrize("name", LOCKS)
def test_nothing_is_missing_but_torch_and_its_own(name):
    """pip installs the files of a lock without asking what else they need."""
    asked = list(PROJECT["dependencies"]) + (PROJECT["optional-dependencies"]["dev"] if "dev" in name else [])
    locked = {canonicalize_name(requirement.name) for requirement, _, _ in entries(name)}
    for requirement, _, _ in entries(name):
        try:
            applies = requirement.marker is None or requirement.marker.evaluate()
            asked += requires(requirement.name) or [] if applies else []
        except PackageNotFoundError:
            continue  # not in this environment
    missing = set()
    for text in asked:
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            missing |= {canonicalize_name(needed.name)} - locked
    assert missing <= {"torch"}


def test_both_lock_files_agree():
    first, second = ({(r.name, str(r.specifier)) for r, _, _ in entries(name)} for name in LOCKS)
    assert first <= second


def test_torch_is_pinned_in_one_place_that_all_installations_read():
    pinned = [text for text in PROJECT["dependencies"] if text.startswith("torch")]
    assert len(pinned) == 1
    assert re.fullmatch(r"torch==[0-9.]+", pinned[0])
    files = ("Makefile", "envs/cpu.post-deploy.sh", "envs/gpu.post-deploy.sh", "envs/induction.def")
    for name in files:
        text = (ROOT / name).read_text(encoding="utf-8").replace("$$", "$")
        (script,) = re.findall(r"sed -nE '([^']+)' pyproject.toml", text)
        done = subprocess.run(
            ["sed", "-nE", script, "pyproject.toml"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == pinned, name
        assert "--require-hashes --no-deps --requirement" in text, name
