"""What a study that reads files says of them before it plans a job."""

import pytest
from project import CORPORA, Project

TARGET = "results/corpora/words/manifest.json"


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("b.txt", "gone", "text/b.txt: a link to gone, which cannot be read (No such file or directory)."),
        ("b.txt", "b.txt", "text/b.txt: a link to b.txt, which cannot be read (Too many levels of symbolic links)."),
        ("caf\udce9.txt", None, "text/caf\\xe9.txt: the file's name is not UTF-8. Rename it."),
    ],
)
def test_a_file_that_cannot_be_read_is_named_before_anything_is_planned(tmp_path, name, target, words):
    project = Project(tmp_path)
    path = tmp_path / "text" / name
    path.symlink_to(target) if target else path.touch()
    done = project.run("-n")
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert f"config/models.yaml: corpora.words.sources.0: {words}" in said
    assert "Traceback" not in said
    assert "rule corpus:" not in said


def test_names_of_texts_are_no_patterns(tmp_path):
    project = Project(tmp_path)
    for name in ("b{c}.txt", "*.txt", "a b'\n.txt"):
        (tmp_path / "text" / name).write_text("a")
    assert project.planned(TARGET) == {"corpus words"}


def test_loops_of_links_are_planned(tmp_path):
    project = Project(tmp_path)
    for number in range(8):
        folder = tmp_path / "text" / str(number)
        folder.mkdir()
        for other in range(8):
            (folder / f"to-{other}").symlink_to(f"../{other}")
    (tmp_path / "text" / "up").symlink_to("../text")
    sources = [{"files": "text/**/*.txt"}]
    project.configure(corpora={"words": {**CORPORA["words"], "sources": sources}})
    assert project.planned(TARGET) == {"corpus words"}
