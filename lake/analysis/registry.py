"""Every analysis there is, by name. Adding one is one file and one line here.

Packages that are installed beside the lake add theirs by an entry point of the group ``perception_lake.analyses``.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points

from lake.analysis.base import Analysis
from lake.analysis.document_text import DOCUMENT_TEXT
from lake.analysis.image_hash import IMAGE_HASH
from lake.analysis.image_labels import IMAGE_LABELS
from lake.analysis.keyframes import KEYFRAMES
from lake.analysis.loudness import LOUDNESS
from lake.analysis.speech import SPEECH
from lake.analysis.text_embedding import TEXT_EMBEDDING
from lake.analysis.transcript import TRANSCRIPT
from lake.errors import UsageError

GROUP = "perception_lake.analyses"


def _installed() -> Iterator[Analysis]:
    for entry in entry_points(group=GROUP):
        try:
            analysis = entry.load()
        except Exception as error:
            raise UsageError(f"the analysis {entry.name!r} ({entry.value}) cannot be loaded: {error}") from error
        if not isinstance(analysis, Analysis):
            raise UsageError(f"the entry point {entry.name!r} ({entry.value}) is no Analysis: mend its package")
        yield analysis


ANALYSES: dict[str, Analysis] = {
    analysis.name: analysis
    for analysis in (
        DOCUMENT_TEXT,
        KEYFRAMES,
        SPEECH,
        LOUDNESS,
        IMAGE_HASH,
        TRANSCRIPT,
        TEXT_EMBEDDING,
        IMAGE_LABELS,
        *_installed(),
    )
}
