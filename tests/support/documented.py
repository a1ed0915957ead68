"""Examples in the documents, which tests run as they stand there."""

from __future__ import annotations

import re

from tests.support.lakes import ROOT


def example(document: str, title: str) -> str:
    """The Python of a document of ``docs`` that has this title."""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    found = re.search(rf"```python title={re.escape(title)}\n(.*?)```", text, re.S)
    assert found is not None, f"{document} has no {title}"
    return found[1]
