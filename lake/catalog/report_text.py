"""How the report says numbers, times and names: for people, and with nothing hidden in a name."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from markupsafe import Markup

NONE = "–"


def visible(text: str) -> str:
    """The text with what cannot be seen, or turns the order of letters around, spelled out."""
    if text.isprintable():
        return text
    return "".join(f"\\u{{{ord(c):X}}}" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co") else c for c in text)


def finalize(value: Any) -> Any:
    """Last step of every expression of the template: unknown is a dash, a text shows what is in it."""
    if value is None:
        return NONE
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def number(value: Any) -> str:
    """A whole number with thousands apart; a dash for unknown."""
    return NONE if value is None else f"{int(value):,}"


def size(value: Any) -> str:
    """Bytes in powers of 1,000."""
    if value is None:
        return NONE
    left = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if left < 1000:
            return f"{left:,.0f} {unit}" if unit == "B" else f"{left:,.1f} {unit}"
        left /= 1000
    return f"{left:,.1f} TB"


def lasting(value: Any) -> str:
    """Seconds as people say them: two units at most."""
    if value is None or not math.isfinite(float(value)):
        return NONE
    seconds = float(value)
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, rest = divmod(round(seconds / 60), 60)
    if hours < 24:
        return f"{hours} h {rest:02} min"
    days, rest = divmod(round(seconds / 3600), 24)
    return f"{days:,} d {rest:02} h"


def when(value: datetime | None) -> str:
    """A time to the second; the page says once that all are UTC."""
    return NONE if value is None else f"{value:%Y-%m-%d %H:%M:%S}"


def later(value: datetime, seconds: float | None) -> str:
    """The time that many seconds later."""
    return when(value + timedelta(seconds=seconds or 0.0))


def until(end: datetime, start: datetime) -> str:
    """A later time, without the date when it is the same."""
    return f"{end:%H:%M:%S}" if end.date() == start.date() else when(end)


def clock(value: Any) -> str:
    """A place in a recording: minutes and seconds."""
    if value is None:
        return NONE
    minutes, seconds = divmod(float(value), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{seconds:04.1f}" if hours else f"{minutes}:{seconds:04.1f}"


FILTERS: dict[str, Callable[..., str]] = {
    "number": number,
    "size": size,
    "lasting": lasting,
    "when": when,
    "later": later,
    "until": until,
    "clock": clock,
}
"""Filters of the template, by name."""
