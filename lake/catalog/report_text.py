"""How the report says numbers, times and names: for people, and with nothing hidden in a name."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from datetime import datetime
from typing import Any

from markupsafe import Markup

NONE = "–"


def visible(text: str) -> str:
    """The text with what cannot be seen, or turns the order of letters around, spelled out."""
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
    if seconds < 60:
        return f"{seconds:.1f} s"
    for unit, lower, unit_s, lower_s in (("min", "s", 60, 1), ("h", "min", 3600, 60)):
        if seconds < unit_s * (60 if unit == "min" else 24):
            whole, rest = divmod(round(seconds / lower_s), unit_s // lower_s)
            return f"{whole} {unit} {rest:02} {lower}"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days:,} d {hours:02} h"


def when(value: datetime | None) -> str:
    """A time to the second; the page says once that all are UTC."""
    return NONE if value is None else f"{value:%Y-%m-%d %H:%M:%S}"


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
    "until": until,
    "clock": clock,
}
"""Filters of the template, by name."""
