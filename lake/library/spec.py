"""What a thematic library is: one YAML file that names inputs, tables by SQL with their keys, and quality rules.

No engine is needed to read or to check a description; the SQL itself is checked when the library is built.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from lake.errors import SettingsError
from lake.schema import BRONZE

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
RESERVED = frozenset(
    {"default", "main", "temp", "system", "information_schema", "pg_catalog", "global_temp", "spark_catalog"}
    | {"delta", "parquet", "json", "csv", "orc", "text", "avro", "binaryfile"}
)
"""Names that an SQL engine gives a meaning of its own: of a schema, or of a file format (``delta.`path```)."""


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no name: a letter, then letters, digits and underscores, 64 at most")
    return text


def _library_name(text: str) -> str:
    if text.lower() in RESERVED:
        raise ValueError(f"{text!r} means something else in SQL: choose another name")
    return _name(text)


Name = Annotated[str, AfterValidator(_name)]
"""An identifier: it goes into SQL and into paths, and only after this check."""
Names = Annotated[tuple[Name, ...], Field(min_length=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Title(_Frozen):
    """What people call the library."""

    zh: str
    en: str


class Rule(_Frozen):
    """One quality rule of a table: exactly one of ``check``, ``not_null``, ``unique`` and ``min_rows``."""

    name: Name
    check: str | None = None
    """A condition in SQL that must hold for each row; unknown (null) counts as holding."""
    not_null: Names | None = None
    """Columns that must be known in each row."""
    unique: Names | None = None
    """Columns whose values together occur once at most; rows where one of them is null do not count."""
    min_rows: Annotated[int, Field(ge=0)] | None = None
    """How many rows the table must have at least."""
    severity: Literal["error", "warn"] = "error"
    """``error``: a version that breaks the rule is not published. ``warn``: it is, and the record says so."""

    @model_validator(mode="after")
    def _one_kind(self) -> Rule:
        given = [kind for kind in RULE_KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"rule {self.name!r} needs exactly one of {', '.join(RULE_KINDS)}")
        return self


RULE_KINDS = ("check", "not_null", "unique", "min_rows")


class TableSpec(_Frozen):
    """One table of a library."""

    sql: Annotated[str, Field(min_length=1)]
    """One SELECT in Spark's SQL over the declared inputs and the tables of the library that stand before this one."""
    key: Names
    """Columns that name a row: never null, never twice."""
    description: str = ""
    columns: dict[Name, str] = Field(default_factory=dict)
    """What each column means. When given, the SELECT must yield exactly these."""
    quality: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> TableSpec:
        _refuse_twice("rule", [rule.name for rule in self.quality])
        _refuse_twice("key column", self.key)
        _refuse_twice("column", list(self.columns))
        if self.columns:
            for column in self.key:
                if column not in self.columns:
                    raise ValueError(f"key column {column!r} is not among the columns{nearest(column, self.columns)}")
        return self


class Theme(_Frozen):
    """A thematic library as its owner describes it."""

    name: Annotated[str, AfterValidator(_library_name)]
    title: Title
    owner: str
    """Who answers for it."""
    description: str = ""
    inputs: Annotated[tuple[str, ...], Field(min_length=1)]
    """Tables of the lake that the SQL may read, and no others."""
    tables: Annotated[dict[Name, TableSpec], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Theme:
        known = input_names()
        for name in self.inputs:
            if name not in known:
                raise ValueError(f"inputs: no table {name!r}{nearest(name, known)}")
        _refuse_twice("input", self.inputs)
        _refuse_twice("table", list(self.tables))
        for table in self.tables:
            if table.lower() in {name.lower() for name in self.inputs}:
                raise ValueError(f"table {table!r} has the name of an input: choose another name")
        return self

    def spec_hash(self) -> str:
        """16 hexadecimal digits that change with anything the description says, and with the analyses it reads."""
        from lake.analysis.registry import ANALYSES

        read = {a.table: [a.version, a.params_hash()] for a in ANALYSES.values() if a.table in self.inputs}
        said = {**self.model_dump(mode="json"), "analyses": read}
        text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def input_names() -> list[str]:
    """Tables that a library may be built from."""
    from lake.analysis.registry import ANALYSES

    return [*BRONZE, *(analysis.table for analysis in ANALYSES.values())]


def load_themes(folder: Path) -> dict[str, Theme]:
    """The libraries that a folder's YAML files describe, by name; one library a file.

    Raises:
        SettingsError: one line that names file and key.
    """
    themes: dict[str, Theme] = {}
    written: dict[str, Path] = {}
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        theme = load_theme(path)
        # SQL does not tell upper from lower case.
        lower = theme.name.lower()
        if lower in written:
            raise SettingsError(f"{path}: library {theme.name!r} is described in {written[lower]} already: remove one")
        written[lower] = path
        themes[theme.name] = theme
    return themes


def load_theme(path: Path) -> Theme:
    """The library that one file describes."""
    try:
        found = yaml.load(path.read_text("utf-8"), Loader=_NoRepeats)  # noqa: S506  (a SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{path}: a library is a mapping with at least name, title, owner, inputs and tables")
    try:
        return Theme.model_validate(found)
    except ValidationError as error:
        raise SettingsError(_said(error, path)) from error


class _NoRepeats(yaml.SafeLoader):
    """Plain YAML, in which a key that stands twice is an error and does not silently hide the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} stands twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error line: what was probably meant, or what there is."""
    known = list(known)
    near = difflib.get_close_matches(word, known, 1, 0.5)
    return f": did you mean {near[0]!r}?" if near else f": known are {', '.join(sorted(known)) or 'none'}"


def _refuse_twice(kind: str, names: Sequence[str]) -> None:
    lower = [name.lower() for name in names]
    for name in names:
        if lower.count(name.lower()) > 1:
            raise ValueError(f"{kind} {name!r} stands twice")


def _said(error: ValidationError, path: Path) -> str:
    """One line for the first thing that is wrong; unknown keys first, for they make others go missing."""
    errors = error.errors()
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"{path}: unknown key {where}{nearest(str(first['loc'][-1]), _known_keys(first['loc'][:-1]))}"
    if first["type"] == "missing":
        return f"{path}: {where} is missing"
    text = first["msg"].removeprefix("Value error, ")
    return f"{path}: {where}: {text}" if where else f"{path}: {text}"


def _known_keys(parents: tuple[int | str, ...]) -> Iterable[str]:
    """Keys that the mapping at a place of the file may have."""
    if parents == ("title",):
        return Title.model_fields
    if parents[:1] == ("tables",):
        return Rule.model_fields if "quality" in parents[2:] else TableSpec.model_fields
    return Theme.model_fields
