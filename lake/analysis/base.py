"""What an analysis is: a pure function of decoded media, with its name, version and fields. No Spark here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from lake.model import AnalysisKey, Media, MediaKind, Row
from lake.models.base import Model
from lake.schema import feature_schema


@dataclass(frozen=True)
class Analysis:
    """One analysis. ``run`` gets a recording and yields rows; it raises a ``RecordError`` for one it cannot use.

    ``run`` works in the decoding child (no Spark, no network, limited memory and time), is called once a recording,
    and yields dicts with the piece columns and the fields. Yielding nothing means "nothing found".
    """

    name: str
    version: str
    media_kinds: tuple[MediaKind, ...]
    piece: tuple[str, ...]
    """Which of start_s, end_s, page, frame its rows carry."""
    fields: pa.Schema
    run: Callable[[Media, Mapping[str, Any]], Iterable[Row]]
    params: Mapping[str, Any] = field(default_factory=dict)
    accepts: Callable[[str], bool] | None = None
    """Narrows ``media_kinds`` by content type."""
    model_hash: Callable[[], str] | None = None
    """sha256 of the weights it uses while no model was chosen for it; None when it has none."""
    models: Mapping[str, str | None] = field(default_factory=dict)
    """The models it uses, a URI by task (docs/decisions/0015). None: one has to be chosen, else it is not run."""
    resolved: Mapping[str, Model] = field(default_factory=dict)
    """What those URIs, or the ones that were chosen instead, led to at submission (``lake.analysis.models``)."""
    time_limit_s: float = 120.0

    @property
    def table(self) -> str:
        return f"feature_{self.name}"

    @property
    def schema(self) -> pa.Schema:
        return feature_schema(self.piece, self.fields)

    def params_hash(self) -> str:
        text = json.dumps(dict(self.params), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def key(self) -> AnalysisKey:
        return AnalysisKey(self.name, self.version, self.params_hash(), self._model_hash())

    def _model_hash(self) -> str | None:
        if not self.resolved:
            return self.model_hash() if self.model_hash else None
        if len(self.resolved) == 1:
            return next(iter(self.resolved.values())).model_hash
        text = "".join(f"{task} {model.model_hash}\n" for task, model in sorted(self.resolved.items()))
        return hashlib.sha256(text.encode()).hexdigest()

    def applies_to(self, media_kind: str, content_type: str) -> bool:
        return media_kind in self.media_kinds and (self.accepts is None or self.accepts(content_type))
