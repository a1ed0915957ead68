"""What the documents say is true: commands exist, links lead somewhere, every table and column is described."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from jobs.cli import VERBS, cli
from lake.analysis.registry import ANALYSES
from lake.schema import BRONZE, PROVENANCE

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"^(?:    |lake: )?(lake [a-z].*|make [a-z0-9-]+.*)$", re.M)


def leaf_commands(group: click.Group, path: str = "lake") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaf_commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_in_the_documents_exist(document: Path) -> None:
    known = {name for name, _ in leaf_commands(cli)}
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))
    for line in COMMAND.findall(document.read_text(encoding="utf-8")):
        words = re.sub(r"--(root|profile|engine) \S+ ?", "", line).split()
        if words[0] == "make":
            assert words[1] in targets, line
        else:
            assert " ".join(words[:2]) in known or " ".join(words[:3]) in known, f"{document.name}: {line}"


@pytest.mark.parametrize(("name", "command"), list(leaf_commands(cli)), ids=lambda value: str(value))
def test_every_verb_has_help_an_example_and_a_place_in_the_guide(name: str, command: click.Command) -> None:
    text = command.help or ""
    assert len(text.split()) > 4
    assert re.search(rf"^\s*lake .*{name.split()[-1]}", text, re.M), f"{name} --help has no example"
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{name} {option.opts[0]} has no help"
    guide = "".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    assert name in guide or f"`{' '.join(name.split()[1:])}`" in guide, f"{name} is in no document"


def test_every_table_and_column_is_described() -> None:
    model = (ROOT / "docs" / "data-model.md").read_text(encoding="utf-8")
    for table, schema in BRONZE.items():
        assert table in model
        for column in schema.names:
            assert f"`{column}`" in model, f"{table}.{column}"
    analyses = (ROOT / "docs" / "analyses.md").read_text(encoding="utf-8")
    for analysis in ANALYSES.values():
        assert f"## {analysis.name}" in analyses
        for column in analysis.schema.names[len(PROVENANCE) :]:
            assert f"`{column}`" in analyses, f"{analysis.name}.{column}"


def test_every_verb_is_a_file_of_its_own() -> None:
    for verb, module in VERBS.items():
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), verb


def test_decisions_that_code_refers_to_exist() -> None:
    there = {path.name[:4] for path in (ROOT / "docs" / "decisions").glob("*.md")}
    for path in [*ROOT.glob("lake/**/*.py"), *ROOT.glob("jobs/*.py"), *ROOT.glob("connectors/**/*.py")]:
        for number in re.findall(r"docs/decisions/(\d{4})", path.read_text(encoding="utf-8")):
            assert number in there, f"{path} names decision {number}"


def test_lock_files_have_hashes_and_no_addresses() -> None:
    for path in ROOT.glob("requirements*.lock"):
        text = path.read_text(encoding="utf-8")
        assert "://" not in text, path.name
        assert text.count("--hash=sha256:") >= len(re.findall(r"^[\w.-]+(?:\[[\w,-]+\])?==", text, re.M)) > 0, path.name


def test_compose_file_builds_the_minio_of_the_tests() -> None:
    from tests.support.build_minio import MODULE

    compose = yaml.safe_load((ROOT / "conf" / "compose.yaml").read_text(encoding="utf-8"))
    server = compose["services"]["minio"]
    assert MODULE in server["build"]["dockerfile_inline"]
    assert all(port.startswith("127.0.0.1:") for port in server["ports"])


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_have_no_outputs(notebook: Path) -> None:
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
