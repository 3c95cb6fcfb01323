"""A label in a script that the theme's font lacks is drawn in a font that has it, or named in a warning."""

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure

from induction.figures import fonts, theme


def plant(path, family, characters):
    """Write a font that draws each of some characters as a triangle."""
    builder = FontBuilder(1000)
    names = [".notdef", *(f"u{ord(character):04X}" for character in characters)]
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(character): name for character, name in zip(characters, names[1:], strict=True)})
    pen = TTGlyphPen(None)
    for number, point in enumerate(((0, 0), (900, 0), (450, 800))):
        (pen.lineTo if number else pen.moveTo)(point)
    pen.closePath()
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular", "psName": family.replace(" ", "")})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return str(path)


@pytest.fixture
def installed(monkeypatch):
    """Return a list of the font files that the machine has."""
    paths = []
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: paths)
    fonts._families_with.cache_clear()
    yield paths
    fonts._families_with.cache_clear()


@theme.styled
def drawn(label, out):
    figure = Figure(figsize=(3, 2))
    figure.subplots().set_title(label)
    theme.save(figure, out)
    return out.with_name(f"{out.name}.svg").read_text(encoding="utf-8")


def test_a_label_is_drawn_in_fonts_that_have_its_characters(tmp_path, installed, capsys):
    installed += [
        plant(tmp_path / "A-Bold.ttf", "Planted Bold", "注意力"),
        plant(tmp_path / "B-Regular.ttf", "Planted Han", "注意力"),
        plant(tmp_path / "C-Regular.ttf", "Planted Hangul", "한국어"),
    ]
    picture = drawn("attention 注意力 한국어", tmp_path / "figure")
    assert "PlantedHan-" in picture
    assert "PlantedHangul-" in picture
    assert "PlantedBold" not in picture
    assert capsys.readouterr().err == ""


def test_characters_that_no_font_has_are_named_with_what_to_install(tmp_path, installed, capsys, recwarn):
    installed.append(plant(tmp_path / "B-Regular.ttf", "Planted Han Alone", "注意"))
    drawn("注意力", tmp_path / "phase_change")
    said = capsys.readouterr().err
    assert said.startswith("figure phase_change: no font on this machine has the characters 力 of '注意力', which")
    assert "apt-get install fonts-noto-cjk" in said
    assert len(said.splitlines()) == 1
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_where_the_themes_font_suffices_no_other_is_looked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: pytest.fail("fonts were looked for"))
    drawn("Ångström, Ελληνικά, кириллица\nsecond line", tmp_path / "figure")
    assert capsys.readouterr().err == ""


def test_what_is_no_font_is_passed_over(tmp_path, installed, capsys):
    (tmp_path / "A.ttf").write_text("no font")
    installed += [str(tmp_path / "A.ttf"), plant(tmp_path / "B.ttf", "Planted Whole", "力")]
    assert "PlantedWhole" in drawn("力", tmp_path / "figure")
    assert capsys.readouterr().err == ""
