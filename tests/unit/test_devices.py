"""Device files: what they may say, whose an arrival is, and when it was captured."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lake.errors import SettingsError, UsageError
from lake.ingest.attribution import captured_at, device_matcher
from lake.ingest.devices import load_devices, named_device
from lake.model import Device

CAM = """
id: cam-gate
kind: camera
place: North gate
zone: outdoor
owner_unit: 保卫处
source_class: perception
clock_offset_s: -7.5
path_pattern: "cam-gate/*"
captured_at_pattern: '(?P<year>\\d{4})(?P<month>\\d\\d)(?P<day>\\d\\d)T(?P<hour>..)(?P<minute>..)(?P<second>..)Z'
"""


def write(folder: Path, text: str, name: str = "d.yaml") -> Path:
    (folder / name).write_text(text, "utf-8")
    return folder


def test_a_device_file_is_loaded(tmp_path: Path) -> None:
    device = load_devices(write(tmp_path, CAM))["cam-gate"]
    assert (device.owner_unit, device.clock_offset_s, device.source_class) == ("保卫处", -7.5, "perception")
    assert named_device({"cam-gate": device}, "cam-gate") is device
    with pytest.raises(UsageError, match="did you mean 'cam-gate'"):
        named_device({"cam-gate": device}, "cam-gat")


def test_a_file_may_hold_several_devices(tmp_path: Path) -> None:
    write(tmp_path, "- {id: b, kind: camera}\n- {id: a, kind: microphone}\n")
    assert list(load_devices(tmp_path)) == ["b", "a"]
    write(tmp_path, "id: a\nkind: scanner", "z.yaml")
    with pytest.raises(SettingsError, match="described twice"):
        load_devices(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CAM + "\nclock_ofset_s: 1", "'clock_ofset_s': did you mean 'clock_offset_s'"),
        ("id: x", "kind"),
        ("id: 7\nkind: camera", "id"),
        ("id: ''\nkind: camera", "id"),
        (f"id: {'x' * 256}\nkind: camera", "255 bytes"),
        ("id: x\nkind: camera\nclock_offset_s: soon", "clock_offset_s"),
        ("id: x\nkind: camera\nsource_class: percepton", "perception"),
        ("id: x\nkind: camera\ncaptured_at_pattern: '('", "no regular expression"),
        ("id: x\nkind: camera\ncaptured_at_pattern: '(?P<year>.)(?P<month>.)'", "no group 'day'"),
        ("id: x\nkind: camera\ncaptured_at_pattern: '(?P<yaer>.)'", "did you mean 'year'"),
        ("just text", "mapping"),
        ("", "mapping"),
        ("a: [", "cannot be read"),
        ("1: 2", "unknown key 1"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_devices(write(tmp_path, text))
    assert said in str(caught.value)
    assert "d.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_longest_pattern_that_matches_decides() -> None:
    devices = {
        each.id: each
        for each in (
            Device("any", "camera", path_pattern="*"),
            Device("gate", "camera", path_pattern="gate/*"),
            Device("no-pattern", "camera"),
        )
    }
    assert device_matcher(devices)("gate/2026/a.mp4") == "gate"
    assert device_matcher(devices)("Gate/a.mp4") == "any"
    assert device_matcher({"gate": devices["gate"]})("yard/a.mp4") is None


def test_capture_time_is_the_name_and_the_clock_offset(tmp_path: Path) -> None:
    device = load_devices(write(tmp_path, CAM))["cam-gate"]
    assert captured_at(device, "cam-gate/20260301T080000Z.mp4") == datetime(2026, 3, 1, 7, 59, 52, 500000, UTC)
    assert captured_at(device, "cam-gate/notes.txt") is None
    assert captured_at(device, "cam-gate/20260231T080000Z.mp4") is None
    assert captured_at(None, "cam-gate/20260301T080000Z.mp4") is None
    assert captured_at(Device("x", "camera"), "20260301T080000Z.mp4") is None


def test_a_pattern_that_matches_no_number_gives_no_time() -> None:
    device = Device("s", "scanner", captured_at_pattern=r"(?P<year>....)(?P<month>..)(?P<day>..)")
    assert captured_at(device, "notes-of-a-day") is None


def test_a_pattern_may_name_the_day_only() -> None:
    device = Device("s", "scanner", captured_at_pattern=r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)")
    assert captured_at(device, "扫描 2026-03-01.pdf") == datetime(2026, 3, 1, tzinfo=UTC)


def test_the_devices_of_this_repository_load() -> None:
    devices = load_devices(Path(__file__).parents[2] / "conf" / "devices")
    assert {"cam-gate", "mic-hotline", "scan-office"} <= set(devices)
