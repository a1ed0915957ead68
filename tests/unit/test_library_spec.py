"""Descriptions of libraries: what they may say, and the one line that says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from lake.errors import SettingsError
from lake.library.spec import Theme, load_theme, load_themes

CONF = Path(__file__).parents[2] / "conf" / "themes"

THEME = """
name: doors
title: {zh: 门, en: Doors}
owner: Security
inputs: [assets]
tables:
  seen:
    sql: SELECT asset_id, sha256 FROM assets
    key: [asset_id]
    quality:
      - {name: some, min_rows: 1, severity: warn}
      - {name: known, not_null: [sha256]}
"""


def write(folder: Path, text: str, name: str = "t.yaml") -> Path:
    (folder / name).write_text(text, "utf-8")
    return folder / name


def test_a_description_is_loaded(tmp_path: Path) -> None:
    write(tmp_path, THEME)
    theme = load_themes(tmp_path)["doors"]
    assert (theme.title.zh, theme.owner, theme.inputs) == ("门", "Security", ("assets",))
    assert theme.tables["seen"].key == ("asset_id",)
    assert [(rule.name, rule.severity) for rule in theme.tables["seen"].quality] == [
        ("some", "warn"),
        ("known", "error"),
    ]
    with pytest.raises(ValidationError):
        theme.owner = "other"  # type: ignore[misc]


def test_the_hash_follows_what_is_said_and_not_how(tmp_path: Path) -> None:
    one = load_theme(write(tmp_path, THEME)).spec_hash()
    assert load_theme(write(tmp_path, "# a comment\n" + THEME)).spec_hash() == one
    assert load_theme(write(tmp_path, THEME.replace("min_rows: 1", "min_rows: 2"))).spec_hash() != one
    assert load_theme(write(tmp_path, THEME.replace("Doors", "Gates"))).spec_hash() != one


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("owner:", "ownr:", "unknown key ownr: did you mean 'owner'"),
        ("key:", "kye:", "unknown key tables.seen.kye: did you mean 'key'"),
        ("severity:", "severty:", "unknown key tables.seen.quality.0.severty: did you mean 'severity'"),
        ("zh:", "zhh:", "unknown key title.zhh: did you mean 'zh'"),
        ("owner: Security", "", "owner is missing"),
        ("    key: [asset_id]", "", "tables.seen.key is missing"),
        ("key: [asset_id]", "key: []", "tables.seen.key"),
        ("[assets]", "[asset]", "inputs: no table 'asset': did you mean 'assets'"),
        ("[assets]", "[feature_speach]", "did you mean 'feature_speech'"),
        ("[assets]", "[]", "inputs"),
        ("name: doors", "name: ../doors", "name: '../doors' is no name"),
        ("name: doors", "name: main", "'main' means something else in SQL"),
        ("  seen:", "  se`en:", "'se`en' is no name"),
        ("  seen:", "  assets:", "table 'assets' has the name of an input"),
        ("[asset_id]", "['asset id']", "'asset id' is no name"),
        ("[asset_id]", "[asset_id, asset_id]", "key column 'asset_id' stands twice"),
        ("min_rows: 1", "min_rows: -1", "min_rows"),
        ("min_rows: 1", "min_rows: 1, check: a > 0", "needs exactly one of check, not_null, unique, min_rows"),
        ("min_rows: 1, ", "", "needs exactly one of"),
        ("name: known", "name: some", "rule 'some' stands twice"),
        ("severity: warn", "severity: fatal", "severity"),
        ("owner: Security", "owner: Security\nowner: me", "key 'owner' stands twice"),
        ("title: {zh: 门, en: Doors}", "title: [", "cannot be read"),
        ("    key:", "    columns: {sha256: x}\n    key:", "key column 'asset_id' is not among the columns"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in THEME
    path = write(tmp_path, THEME.replace(old, new, 1))
    with pytest.raises(SettingsError) as raised:
        load_themes(tmp_path)
    text = str(raised.value)
    assert said in text
    assert str(path) in text
    assert "\n" not in text


@pytest.mark.parametrize("text", ["", "- a\n", "just text", b"\xff\xfe\xff"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str | bytes) -> None:
    (tmp_path / "t.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError, match=r"t\.yaml"):
        load_themes(tmp_path)


def test_two_files_may_not_describe_one_library(tmp_path: Path) -> None:
    write(tmp_path, THEME)
    write(tmp_path, THEME.replace("doors", "Doors", 1), "u.yaml")
    with pytest.raises(SettingsError, match="described in"):
        load_themes(tmp_path)


def test_no_folder_is_no_library(tmp_path: Path) -> None:
    assert load_themes(tmp_path / "none") == {}


def test_the_shipped_libraries_say_what_they_are() -> None:
    themes = load_themes(CONF)
    assert {"hotline_audio", "site_watch"} <= set(themes)
    for theme in themes.values():
        assert_documented(theme)


def assert_documented(theme: Theme) -> None:
    assert theme.title.zh
    assert theme.title.en
    assert theme.owner
    assert theme.description
    for name, table in theme.tables.items():
        assert table.description, name
        assert {"asset_id", "sha256"} <= set(table.columns), name
        assert any(rule.severity == "error" for rule in table.quality), name


def test_the_example_of_the_guide_is_a_library(tmp_path: Path) -> None:
    text = (CONF.parents[1] / "docs" / "libraries.md").read_text("utf-8")
    example = text.split("```yaml\n", 1)[1].split("```", 1)[0]
    theme = load_theme(write(tmp_path, example))
    assert theme.tables
    assert "feature_image_hash" in theme.inputs
