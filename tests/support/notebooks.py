"""Cells in a real kernel, as a notebook runs them; it listens on the loopback and is ended after the last one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

LIMIT_S = 120


def run_cells(cells: Sequence[str], folder: Path | None = None) -> list[list[Any]]:
    """Run code cells one after the other in a folder, and give the outputs of each; the first error is raised."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
    resources = {"metadata": {"path": str(folder)}} if folder else {}
    NotebookClient(notebook, timeout=LIMIT_S, resources=resources).execute()
    return [list(cell.outputs) for cell in notebook.cells]
