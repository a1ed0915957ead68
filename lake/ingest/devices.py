"""Devices as ``conf/devices/*.yaml`` describes them: whose an arrival is, and when it was captured."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from lake.errors import SettingsError, UsageError
from lake.model import Arrival, Device

_KNOWN = tuple(field.name for field in fields(Device))
_DEVICE = TypeAdapter(Device)
_TIME_GROUPS = ("year", "month", "day", "hour", "minute", "second")


def load_devices(folder: Path) -> dict[str, Device]:
    """The devices of a folder's YAML files, by id; a file holds one device or a list of them.

    Raises:
        SettingsError: one line that names file and key.
    """
    devices: dict[str, Device] = {}
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        for values in _documents(path):
            device = _device(values, path)
            if device.id in devices:
                raise SettingsError(f"{path}: device {device.id!r} is described twice: remove one.")
            devices[device.id] = device
    return devices


def named_device(devices: Mapping[str, Device], device_id: str) -> Device:
    """The device of this id; raises ``UsageError`` that names the nearest one."""
    if device_id not in devices:
        raise UsageError(f"No device is called {device_id!r}{_nearest(device_id, devices)}")
    return devices[device_id]


def device_of(devices: Mapping[str, Device], arrival: Arrival) -> str | None:
    """Whose an arrival is, by its key (``*`` matches ``/`` too): of the patterns that match, the longest decides."""
    matching = [
        (len(each.path_pattern), each.id)
        for each in devices.values()
        if each.path_pattern and fnmatch.fnmatchcase(arrival.key, each.path_pattern)
    ]
    return max(matching)[1] if matching else None


def captured_at(device: Device | None, key: str) -> datetime | None:
    """When the device recorded this, by the file's name and the device's clock; None when they do not say."""
    if device is None or device.captured_at_pattern is None:
        return None
    found = re.search(device.captured_at_pattern, key)
    if found is None:
        return None
    named = found.groupdict()
    try:
        year, month, day, hour, minute, second = (int(named.get(group) or 0) for group in _TIME_GROUPS)
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC) + timedelta(seconds=device.clock_offset_s)
    except (ValueError, OverflowError):
        return None  # a 31 February: the name looks like a time and is none


def _documents(path: Path) -> Iterator[dict[str, Any]]:
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read: {' '.join(str(error).split())}.") from error
    for values in content if isinstance(content, list) else [content]:
        if not isinstance(values, dict):
            raise SettingsError(f"{path}: a device is a mapping with at least `id` and `kind`, not {values!r}.")
        yield values


def _device(values: dict[str, Any], path: Path) -> Device:
    for key in values:
        if key not in _KNOWN:
            raise SettingsError(f"{path}: unknown key {key!r}{_nearest(str(key), _KNOWN)}")
    try:
        device = _DEVICE.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{path}: {where}: {first['msg']}.") from error
    _check_pattern(device, path)
    return device


def _check_pattern(device: Device, path: Path) -> None:
    try:
        groups = re.compile(device.captured_at_pattern or "").groupindex
    except re.error as error:
        raise SettingsError(f"{path}: captured_at_pattern is no regular expression: {error}.") from error
    if device.captured_at_pattern is None:
        return
    for group in groups:
        if group not in _TIME_GROUPS:
            raise SettingsError(f"{path}: captured_at_pattern: unknown group {group!r}{_nearest(group, _TIME_GROUPS)}")
    missing = [group for group in _TIME_GROUPS[:3] if group not in groups]
    if missing:
        raise SettingsError(f"{path}: captured_at_pattern has no group {missing[0]!r}: write (?P<{missing[0]}>\\d+).")


def _nearest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(word, known, 1, 0.5)
    return f": did you mean {near[0]!r}?" if near else f": known are {', '.join(sorted(known)) or 'none'}."
