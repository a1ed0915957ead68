"""How a model is named: ``builtin:NAME``, ``lake:NAME@VERSION`` or ``path:FOLDER``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from lake.errors import UsageError

FORMS = "write builtin:NAME, lake:GROUP/NAME@VERSION or path:FOLDER"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*/[a-z0-9][a-z0-9._-]*")
"""Two parts: an object key that no other model's key can lie below."""


@dataclass(frozen=True)
class ModelUri:
    """A parsed URI. ``version`` is that of a registered model; None where none is named."""

    scheme: Literal["builtin", "lake", "path"]
    name: str
    version: int | None = None

    def __str__(self) -> str:
        return f"{self.scheme}:{self.name}" + (f"@{self.version}" if self.version else "")


def parse(text: str) -> ModelUri:
    """The URI of a model.

    Raises:
        UsageError: it is none; the line says how one looks.
    """
    scheme, _, rest = text.partition(":")
    if scheme == "lake":
        return parse_registered(rest)
    if scheme in ("builtin", "path") and rest:
        return ModelUri("builtin" if scheme == "builtin" else "path", rest)
    raise UsageError(f"{text!r} names no model: {FORMS}")


def parse_registered(text: str) -> ModelUri:
    """``GROUP/NAME`` or ``GROUP/NAME@VERSION``, as the verbs of ``lake models`` take it."""
    name, at, number = text.partition("@")
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{text!r} is no name of a registered model: two parts of a-z, 0-9, - and _, such as asr/whisper-small"
        )
    if at and not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        raise UsageError(f"{text!r} names no version: write {name}@1")
    return ModelUri("lake", name, int(number) if at else None)
