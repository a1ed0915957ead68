"""Devices as ``conf/devices/*.yaml`` describes them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from lake.errors import SettingsError, UsageError
from lake.ingest.attribution import TIME_GROUPS
from lake.model import Device

_KNOWN = tuple(field.name for field in fields(Device))
MAX_ID_BYTES = 255
_DEVICE = TypeAdapter(Device)


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
    if not 0 < len(device.id.encode("utf-8", "replace")) <= MAX_ID_BYTES:
        raise SettingsError(f"{path}: id: a device's id has 1 to {MAX_ID_BYTES} bytes: a pack has room for no more.")
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
        if group not in TIME_GROUPS:
            raise SettingsError(f"{path}: captured_at_pattern: unknown group {group!r}{_nearest(group, TIME_GROUPS)}")
    missing = [group for group in TIME_GROUPS[:3] if group not in groups]
    if missing:
        raise SettingsError(f"{path}: captured_at_pattern has no group {missing[0]!r}: write (?P<{missing[0]}>\\d+).")


def _nearest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(word, known, 1, 0.5)
    return f": did you mean {near[0]!r}?" if near else f": known are {', '.join(sorted(known)) or 'none'}."
