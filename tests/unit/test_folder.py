"""The folder connector on real trees: order, odd names, things that are no files, and files that move."""

from __future__ import annotations

import os
import pickle
import random
import socket
import tracemalloc
from pathlib import Path

import pytest

from connectors import connect
from connectors.folder import Folder
from connectors.keys import key_to_path, path_to_key
from lake.errors import SourceError, Unreadable, UsageError
from lake.model import Arrival, Skipped

ODD_NAMES = [
    b"with space.wav",
    b"100%.wav",
    b"100%25.wav",
    b"%ff.wav",
    b"quote'\".wav",
    b"new\nline.wav",
    b"tab\tbell\x07.wav",
    "emoji 🎙️.wav".encode(),
    "会议记录.wav".encode(),
    b"no utf-8 \xff\xfe.wav",
    "gbk 录音.wav".encode("gbk"),
    b"1234:2,S",
    b"-rf",
    b"~",
    b"*?[a].wav",
    b"back\\slash.wav",
    b".hidden",
    b"cafe\xcc\x81.wav",
    "café.wav".encode(),
    b"x" * 255,
]


def arrivals(connector, after=None) -> list[Arrival]:
    return [each for each in connector.discover(after) if isinstance(each, Arrival)]


def skipped(connector) -> dict[str, str]:
    return {each.key: each.reason for each in connector.discover() if isinstance(each, Skipped)}


def read(connector, arrival: Arrival) -> bytes:
    with connector.open(arrival) as file:
        data = file.read()
    connector.verify(arrival, len(data))
    return data


def random_tree(folder: Path, seed: int) -> None:
    """Names whose order differs between names and whole keys, between text and bytes, and between raw and escaped."""
    rng = random.Random(seed)
    parts = [b"a", b"a.x", b"a!", b"a0", b"a\xff", b"a%", b"a%\xff", b"a%2", b"b", b"\xf0\x9f\x8e\x99", b"\xef\xbf\xbf"]
    for _ in range(120):
        path = b"/".join(rng.choice(parts) for _ in range(rng.randint(1, 4)))
        full = os.path.join(os.fsencode(folder), path)
        try:
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "wb") as file:
                file.write(path)
        except OSError:
            continue  # a file where a folder is needed, or the other way round


@pytest.mark.parametrize("name", ODD_NAMES, ids=repr)
def test_an_odd_name_is_listed_and_read(tmp_path: Path, name: bytes) -> None:
    with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
        file.write(name)
    connector = connect(str(tmp_path))
    (arrival,) = arrivals(connector)
    assert arrival.key.encode("utf-8")  # no surrogates
    assert key_to_path(arrival.key) == name
    assert read(connector, arrival) == name


def test_keys_are_reversible_and_distinct() -> None:
    names = [*ODD_NAMES, b"%", b"%25", b"\xff", b"%FF", b"a/b%/\x80"]
    assert [key_to_path(path_to_key(name)) for name in names] == names
    assert len({path_to_key(name) for name in names}) == len(names)
    assert path_to_key(b"a/\xff %") == "a/%FF %25"


@pytest.mark.parametrize("seed", range(5))
def test_the_listing_ascends_and_resumes_anywhere(tmp_path: Path, seed: int) -> None:
    random_tree(tmp_path, seed)
    connector = connect(str(tmp_path))
    listed = arrivals(connector)
    keys = [each.key for each in listed]
    files = {
        path for base, _, names in os.walk(os.fsencode(tmp_path)) for path in (os.path.join(base, n) for n in names)
    }
    assert {os.path.join(os.fsencode(tmp_path), key_to_path(key)) for key in keys} == files
    assert keys == sorted(keys, key=lambda key: key.encode())
    for at in range(0, len(keys), 7):
        assert arrivals(connector, keys[at]) == listed[at + 1 :]
    assert arrivals(connector, "") == listed
    assert arrivals(connector, "a/") == [each for each in listed if each.key.encode() > b"a/"]


def test_things_that_are_no_files_are_told_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "good").write_bytes(b"1")
    (tmp_path / "out").symlink_to("/etc/hostname")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "inside").symlink_to("good")
    (tmp_path / "nothing").symlink_to("absent")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "sock")) if len(str(tmp_path)) < 90 else os.mkfifo(tmp_path / "sock")
        connector = connect(str(tmp_path))
        assert [each.key for each in arrivals(connector)] == ["good"]
        assert set(skipped(connector)) == {"pipe.mp4", "out", "loop", "inside", "nothing", "sock"}
    assert "pipe" in skipped(connector)["pipe.mp4"]
    with pytest.raises(Unreadable):
        connector.open(Arrival(connector.source, "pipe.mp4", "0", 0))


def test_a_device_node_is_told(tmp_path: Path) -> None:
    assert skipped(Folder("/dev"))["null"] == "is a character device"


def test_links_are_followed_when_asked_and_loops_are_cut(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "in"
    outside.mkdir()
    inside.mkdir()
    (outside / "far").write_bytes(b"far")
    (inside / "dir").symlink_to(outside)
    (inside / "file").symlink_to(outside / "far")
    (inside / "loop").symlink_to(inside)
    (inside / "self").symlink_to("self")
    (inside / "nothing").symlink_to("absent")
    connector = connect(str(inside), follow_links=True)
    listed = arrivals(connector)
    assert [each.key for each in listed] == ["dir/far", "file"]
    assert [read(connector, each) for each in listed] == [b"far", b"far"]
    assert set(skipped(connector)) == {"loop/", "self", "nothing"}


def test_two_hundred_levels_and_paths_longer_than_the_system_takes(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d" * 40, dir_fd=here)
        inside = os.open("d" * 40, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inside
    with open(os.open("deep", os.O_WRONLY | os.O_CREAT, dir_fd=here), "wb") as file:
        file.write(b"deep")
    os.close(here)
    connector = connect(str(tmp_path))
    (arrival,) = arrivals(connector)
    assert len(arrival.key) > 4096
    assert read(connector, arrival) == b"deep"
    assert arrivals(connector, arrival.key) == []


def test_a_version_changes_with_the_content_and_only_then(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"12345")
    connector = connect(str(tmp_path))
    first, again = arrivals(connector), arrivals(connector)
    assert first == again
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.write_bytes(b"54321")
    os.utime(file, ns=times)  # same size, same time: a copy that keeps times
    assert arrivals(connector)[0].version != first[0].version
    assert arrivals(connector)[0].arrival_id != first[0].arrival_id


def test_a_file_that_vanishes_or_changes_while_being_read(tmp_path: Path) -> None:
    for name in ("gone", "gone-after", "grown", "same-size", "now-a-pipe", "now-a-link"):
        (tmp_path / name).write_bytes(b"before")
    connector = connect(str(tmp_path))
    by_key = {each.key: each for each in arrivals(connector)}
    (tmp_path / "gone").unlink()
    with pytest.raises(Unreadable, match="is gone"):
        connector.open(by_key["gone"])
    with connector.open(by_key["gone-after"]) as file:
        (tmp_path / "gone-after").unlink()
        assert file.read() == b"before"
    with pytest.raises(Unreadable, match="is gone"):
        connector.verify(by_key["gone-after"], 6)
    (tmp_path / "grown").write_bytes(b"before and more")
    with pytest.raises(Unreadable, match="changed while being read"):
        read(connector, by_key["grown"])
    (tmp_path / "same-size").write_bytes(b"after!")
    with pytest.raises(Unreadable, match="changed while being read"):
        read(connector, by_key["same-size"])
    (tmp_path / "now-a-pipe").unlink()
    os.mkfifo(tmp_path / "now-a-pipe")
    with pytest.raises(Unreadable, match="no regular file"):
        connector.open(by_key["now-a-pipe"])
    (tmp_path / "now-a-link").unlink()
    (tmp_path / "now-a-link").symlink_to("/etc/passwd")
    with pytest.raises(Unreadable):
        connector.open(by_key["now-a-link"])


def test_a_folder_swapped_for_a_link_is_not_followed(tmp_path: Path) -> None:
    source, secret = tmp_path / "source", tmp_path / "secret"
    (source / "cam").mkdir(parents=True)
    secret.mkdir()
    (source / "cam" / "a").write_bytes(b"mine")
    (secret / "a").write_bytes(b"not yours")
    connector = connect(str(source))
    (arrival,) = arrivals(connector)
    (source / "cam").rename(source / "moved")
    (source / "cam").symlink_to(secret)
    with pytest.raises(Unreadable):
        connector.open(arrival)


def test_a_key_never_leads_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    connector = connect(str(tmp_path / "in"))
    for key in ("../secret", "%2E%2E/secret", "/etc/passwd", "in/../../secret", "nul\0"):
        with pytest.raises(Unreadable):
            connector.open(Arrival(connector.source, key, "6", 6))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_no_permission_is_a_problem_of_the_arrival(tmp_path: Path) -> None:
    (tmp_path / "open").write_bytes(b"1")
    (tmp_path / "closed").write_bytes(b"1")
    (tmp_path / "shut").mkdir()
    (tmp_path / "shut" / "unseen").write_bytes(b"1")
    (tmp_path / "closed").chmod(0)
    (tmp_path / "shut").chmod(0)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    connector = connect(str(tmp_path))
    listed = list(connector.discover()) if os.geteuid() else as_nobody(lambda: list(connector.discover()))
    problems = {each.key: each.problem for each in listed if isinstance(each, Arrival)}
    assert problems["open"] is None
    assert "no permission" in (problems["closed"] or "")
    reasons = {each.key: each.reason for each in listed if isinstance(each, Skipped)}
    assert "no permission" in reasons["shut/"]
    (tmp_path / "shut").chmod(0o755)


def as_nobody(function):
    """What the function returns in a child that has given up root's rights."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            answer = pickle.dumps(function())
        except BaseException as error:
            answer = pickle.dumps(error)
        with open(send, "wb") as file:
            file.write(answer)
        os._exit(0)
    os.close(send)
    with open(receive, "rb") as file:
        answer = pickle.loads(file.read())
    os.waitpid(child, 0)
    if isinstance(answer, BaseException):
        raise answer
    return answer


def test_the_lake_inside_the_folder_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "lake-data" / "packs").mkdir(parents=True)
    (tmp_path / "lake-data" / "packs" / "p").write_bytes(b"1")
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "other-name").symlink_to(tmp_path / "lake-data")
    connector = connect(
        str(tmp_path), exclude=(str(tmp_path / "lake-data"), str(tmp_path / "absent")), follow_links=True
    )
    assert [each.key for each in arrivals(connector)] == ["a"]
    assert set(skipped(connector)) == {"lake-data/", "other-name/"}
    with pytest.raises(SourceError, match="is the lake itself"):
        list(connect(str(tmp_path), exclude=(str(tmp_path),)).discover())


def test_a_wrong_source_is_one_line_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    with pytest.raises(SourceError, match="does not exist"):
        list(connect(str(tmp_path / "absent")).discover())
    with pytest.raises(SourceError, match="is no folder"):
        list(connect(str(tmp_path / "file")).discover())
    with pytest.raises(UsageError, match="ftp://x"):
        connect("ftp://x")


def test_one_folder_has_one_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / os.fsdecode(b"a b%\xff")
    odd.mkdir()
    (odd / "x").write_bytes(b"1")
    monkeypatch.chdir(odd)
    uris = {
        connect(str(odd)).source,
        connect(str(odd) + "/").source,
        connect(".").source,
        connect("../" + odd.name).source,
    }
    assert len(uris) == 1
    uri = uris.pop()
    assert uri.isascii()
    assert connect(uri).source == uri
    assert [each.key for each in arrivals(connect(uri))] == ["x"]


def test_memory_holds_one_folder_at_a_time(tmp_path: Path) -> None:
    def peak(folders: int) -> int:
        root = tmp_path / str(folders)
        for at in range(folders):
            (root / f"{at:03}").mkdir(parents=True)
            for name in range(50):
                (root / f"{at:03}" / f"{name:03}").touch()
        tracemalloc.start()
        assert sum(1 for _ in connect(str(root)).discover()) == folders * 50
        _, top = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return top

    peak(1)
    # 54 folders more cost their names, not their 2,700 files.
    assert peak(60) - peak(6) < 54 * 200
