"""Whose an arrival is and when it was captured, by its key: apart from ``devices``, so that workers load no YAML."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from lake.model import Device

TIME_GROUPS = ("year", "month", "day", "hour", "minute", "second")
"""Groups of ``Device.captured_at_pattern``."""


def device_matcher(devices: Mapping[str, Device]) -> Callable[[str], str | None]:
    """A function that says whose a key is (``*`` matches ``/`` too): of the patterns that match, the longest decides.

    All patterns are one regular expression, for a city has hundreds of devices and every arrival is asked about.
    """
    patterned = [(each.path_pattern, each.id) for each in devices.values() if each.path_pattern]
    patterned.sort(key=lambda each: (len(each[0]), each[1]), reverse=True)
    if not patterned:
        return lambda key: None
    # The first alternative that matches wins; each is one group, whose number says which.
    match = re.compile("|".join(f"({fnmatch.translate(pattern)})" for pattern, _ in patterned)).match

    def device_of(key: str) -> str | None:
        found = match(key)
        return patterned[found.lastindex - 1][1] if found and found.lastindex else None

    return device_of


def captured_at(device: Device | None, key: str) -> datetime | None:
    """When the device recorded this, by the file's name and the device's clock; None when they do not say."""
    if device is None or device.captured_at_pattern is None:
        return None
    found = re.search(device.captured_at_pattern, key)
    if found is None:
        return None
    named = found.groupdict()
    try:
        year, month, day, hour, minute, second = (int(named.get(group) or 0) for group in TIME_GROUPS)
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC) + timedelta(seconds=device.clock_offset_s)
    except (ValueError, OverflowError):
        return None  # a 31 February: the name looks like a time and is none
