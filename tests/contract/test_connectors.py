"""What every connector promises, asked of each on the real thing."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from connectors import CONNECTORS, connect
from connectors.base import Connector
from lake.errors import LakeError, SourceError, Unreadable, UsageError
from lake.model import Arrival

FILES = {
    "a!": b"a!",
    "a.x": b"a.x",
    "a/b": b"a/b",
    "a0/empty": b"",
    "big.bin": bytes(range(256)) * 20_000,
    "cam 1/100%.mp4": b"percent",
    "cam 1/20260301T08:00:00,S=1:2,S": b"colons",
    "cam 1/new\nline & <tag> \"quotes' +=?#.wav": b"punctuation",
    "cam 1/会议 🎙️.wav": b"emoji",
    "z%41": b"looks escaped",
}


@dataclass(frozen=True)
class Site:
    """A source that the test may write to, and how to connect to it."""

    connector: Connector
    put: Callable[[str, bytes], None] | None
    """Writes one name; None where the source makes its own content."""
    delete: Callable[[str], None] | None
    absent: Callable[[], Connector]
    """A source of the same kind that does not exist."""


def folder_site(tmp_path: Path, request: pytest.FixtureRequest) -> Site:
    root = tmp_path / "source"
    root.mkdir()

    def put(name: str, data: bytes) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)

    return Site(connect(str(root)), put, lambda name: (root / name).unlink(), lambda: connect(str(root / "absent")))


def bucket_site(tmp_path: Path, request: pytest.FixtureRequest) -> Site:
    from minio import Minio

    minio, bucket = request.getfixturevalue("minio"), request.getfixturevalue("bucket")
    s3 = s3_options(minio)
    client = Minio(
        endpoint=s3["endpoint_url"].removeprefix("http://"),
        access_key=s3["access_key_id"],
        secret_key=s3["secret_access_key"],
        secure=False,
    )

    def put(name: str, data: bytes) -> None:
        client.put_object(bucket_name=bucket, object_name=f"in put/{name}", data=io.BytesIO(data), length=len(data))

    client.put_object(bucket_name=bucket, object_name="in puta", data=io.BytesIO(b"beside"), length=6)
    return Site(
        connect(f"s3://{bucket}/in put", s3=s3),
        put,
        lambda name: client.remove_object(bucket_name=bucket, object_name=f"in put/{name}"),
        lambda: connect(f"s3://{bucket}-absent", s3=s3),
    )


def simulated_site(tmp_path: Path, request: pytest.FixtureRequest) -> Site:
    uri = "simulated://city?seed=3&minutes=0.5&spool="
    return Site(connect(uri + str(tmp_path)), None, None, lambda: connect(uri + "/proc/absent"))


SITES = {"file": folder_site, "s3": bucket_site, "simulated": simulated_site}


def s3_options(minio: Any) -> dict[str, str]:
    """The options of ``connect`` for the MinIO of the tests."""
    return {
        "endpoint_url": minio.endpoint_url,
        "access_key_id": minio.access_key_id,
        "secret_access_key": minio.secret_access_key,
        "region": "us-east-1",
    }


@pytest.fixture(params=list(CONNECTORS))
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    made = SITES[request.param](tmp_path, request)
    if made.put:
        for name, data in FILES.items():
            made.put(name, data)
    return made


@pytest.fixture
def writable(site: Site) -> Site:
    if site.put is None:
        pytest.skip("this source makes its own content")
    return site


def arrivals(connector: Connector, after: str | None = None) -> list[Arrival]:
    return [each for each in connector.discover(after) if isinstance(each, Arrival)]


def read(connector: Connector, arrival: Arrival) -> bytes:
    with connector.open(arrival) as file:
        data = b"".join(iter(lambda: file.read(100_000), b""))
    connector.verify(arrival, len(data))
    return data


def test_it_lists_what_is_there_in_order_of_key_bytes(site: Site) -> None:
    listed = arrivals(site.connector)
    keys = [each.key.encode() for each in listed]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys) > 5
    assert all(each.source == site.connector.source for each in listed)
    assert all(each.modified_at_utc is not None and each.modified_at_utc.utcoffset() is not None for each in listed)


def test_it_reads_every_byte_of_every_name(writable: Site) -> None:
    got = {each.key: read(writable.connector, each) for each in arrivals(writable.connector)}
    assert got == {name.replace("%", "%25"): data for name, data in FILES.items()}


def test_sizes_are_those_of_the_bytes(site: Site) -> None:
    for arrival in arrivals(site.connector)[:20]:
        assert len(read(site.connector, arrival)) == arrival.size_bytes


def test_it_goes_on_after_any_key(site: Site) -> None:
    listed = arrivals(site.connector)
    for at in range(len(listed)):
        assert arrivals(site.connector, listed[at].key) == listed[at + 1 :]


def test_listing_twice_gives_the_same_arrivals(site: Site) -> None:
    assert arrivals(site.connector) == arrivals(site.connector)


def test_it_pickles_also_after_use_and_tells_no_secret(site: Site) -> None:
    arrival = arrivals(site.connector)[0]
    data = read(site.connector, arrival)
    copy = pickle.loads(pickle.dumps(site.connector))
    assert copy.source == site.connector.source
    assert read(copy, arrival) == data
    assert "secret" not in repr(copy).replace("secret_access_key", "")


def test_new_content_is_a_new_version_and_reads_as_changed(writable: Site) -> None:
    assert writable.put is not None
    before = {each.key: each for each in arrivals(writable.connector)}
    writable.put("a.x", b"A.X")
    after = {each.key: each for each in arrivals(writable.connector)}
    assert [key for key in after if after[key] != before[key]] == ["a.x"]
    assert after["a.x"].version != before["a.x"].version
    with pytest.raises(Unreadable, match="changed while being read"):
        read(writable.connector, before["a.x"])
    assert read(writable.connector, after["a.x"]) == b"A.X"


def test_what_is_gone_is_unreadable(writable: Site) -> None:
    assert writable.delete is not None
    (arrival,) = [each for each in arrivals(writable.connector) if each.key == "a.x"]
    writable.delete("a.x")
    with pytest.raises(Unreadable, match=r"'a\.x' is gone"):
        read(writable.connector, arrival)


def test_a_read_that_is_too_short_is_told(site: Site) -> None:
    arrival = next(each for each in arrivals(site.connector) if each.size_bytes)
    with pytest.raises(Unreadable):
        site.connector.verify(arrival, arrival.size_bytes - 1)


def test_a_key_that_was_never_there_is_unreadable(site: Site) -> None:
    arrival = replace(arrivals(site.connector)[0], key="never/was")
    with pytest.raises(Unreadable):
        read(site.connector, arrival)


def test_a_source_that_does_not_exist_is_one_line(site: Site) -> None:
    with pytest.raises((SourceError, UsageError)) as caught:
        list(site.absent().discover())
    assert "\n" not in str(caught.value)
    assert "absent" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"secret_access_key": "wrong"}, "AWS_SECRET_ACCESS_KEY"),
        ({"access_key_id": "wrong"}, "AWS_ACCESS_KEY_ID"),
        ({"endpoint_url": "http://127.0.0.1:9"}, "check the endpoint"),
        ({"endpoint_url": "127.0.0.1"}, "127.0.0.1"),
    ],
)
def test_a_wrong_endpoint_or_key_is_one_line(minio: Any, bucket: str, change: dict[str, str], said: str) -> None:
    with pytest.raises(LakeError) as caught:
        list(connect(f"s3://{bucket}", s3={**s3_options(minio), **change}).discover())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_lake_inside_the_bucket_is_left_out(minio: Any, bucket: str, tmp_path: Path, request: Any) -> None:
    site = bucket_site(tmp_path, request)
    assert site.put is not None
    for name in ("a", "lake/packs/1", "lake/packs/2", "lake2"):
        site.put(name, b"1")
    connector = connect(f"s3://{bucket}/in put/", s3=s3_options(minio), exclude=(f"s3://{bucket}/in put/lake",))
    listed = list(connector.discover())
    assert [each.key for each in listed if isinstance(each, Arrival)] == ["a", "lake2"]
    assert len(listed) == 3


def test_the_registry_and_the_sites_agree() -> None:
    assert set(SITES) == set(CONNECTORS)
    assert all(name == connector.name for name, connector in CONNECTORS.items())
