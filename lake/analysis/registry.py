"""Every analysis the lake ships, by name. Adding one is one file and one line here."""

from __future__ import annotations

from lake.analysis.base import Analysis
from lake.analysis.document_text import DOCUMENT_TEXT
from lake.analysis.image_hash import IMAGE_HASH
from lake.analysis.keyframes import KEYFRAMES
from lake.analysis.loudness import LOUDNESS
from lake.analysis.speech import SPEECH

ANALYSES: dict[str, Analysis] = {
    analysis.name: analysis
    for analysis in (
        DOCUMENT_TEXT,
        KEYFRAMES,
        SPEECH,
        LOUDNESS,
        IMAGE_HASH,
    )
}
