"""One suite for both object stores: a folder and a bucket of a real MinIO behave alike."""

from __future__ import annotations

import multiprocessing
import pickle
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

from lake.errors import AccessDenied, AlreadyExists, LakeError, NotFound, StoreError, StoreUnavailable, UsageError
from lake.settings import S3Settings
from lake.store.foreign import errors
from lake.store.index import read_index
from lake.store.objects import BucketStore, FolderStore, ObjectStore, open_store
from lake.store.reader import scan
from lake.store.writer import PackWriter
from tests.support.minio import MinioServer
from tests.support.packs import pack_keys, sha256_of, without_footer, write_packs
from tests.support.proxy import S3Proxy

pytestmark = pytest.mark.timeout(120)

CONTENT = random.Random(1).randbytes(3_000_000)
ODD_KEYS = [
    "a b",
    "a%20b",
    "a%b",
    "a+b",
    "日本/ü",
    "é/é",
    "😀.mp4",
    "a?b",
    "a*b",
    "a:b",
    "x\\y",
    'it\'s "it"',
    "~",
    "a&b=c",
]


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """Each store in turn, empty."""
    if request.param == "folder":
        (tmp_path / "root").mkdir()
        return FolderStore(str(tmp_path / "root"))
    minio: MinioServer = request.getfixturevalue("minio")
    return BucketStore(f"s3://{request.getfixturevalue('bucket')}/some where/ü", minio.settings)


def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return sorted(entry.key for entry in store.list(prefix))


def test_put_replaces_and_get_gives_it_back(store: ObjectStore, tmp_path: Path) -> None:
    store.put("a/b", CONTENT)
    assert store.get("a/b") == CONTENT
    store.put("a/b", b"")
    assert store.get("a/b") == b""
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    store.put("a/b", source)
    assert store.get("a/b") == source.read_bytes() == CONTENT
    source.unlink()
    assert store.stat("a/b").size_bytes == len(CONTENT)
    assert keys(store) == ["a/b"]


def test_a_large_file_is_taken_as_it_was(store: ObjectStore, tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(CONTENT * 4)
    store.put("large", source)
    source.unlink()  # a folder took it over by a link: it is not ours to change any more
    source.write_bytes(b"x" * 2_000_000)
    assert store.get("large") == CONTENT * 4


def test_put_if_absent_keeps_what_is_there(store: ObjectStore) -> None:
    assert store.put_if_absent("k", b"first")
    assert not store.put_if_absent("k", b"second")
    assert not store.put_if_absent("k", b"first"), "the same bytes again are no new object either"
    assert store.get("k") == b"first"
    store.delete("k")
    assert store.put_if_absent("k", b"third")
    assert keys(store) == ["k"]


@pytest.mark.parametrize("same_bytes", [False, True])
def test_one_of_many_threads_creates(store: ObjectStore, same_bytes: bool) -> None:
    for number in range(10):
        together = threading.Barrier(8)

        def create(writer: int, key: str, together: threading.Barrier = together) -> bool:
            together.wait()
            return store.put_if_absent(key, b"same" * 1000 if same_bytes else str(writer).encode() * 1000)

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(create, range(8), [f"race/{number}"] * 8))
        assert sum(won) == 1
        if not same_bytes:
            assert store.get(f"race/{number}") == str(won.index(True)).encode() * 1000


def _race(store: ObjectStore, writer: int, together: threading.Barrier) -> list[bool]:
    together.wait()
    return [store.put_if_absent(f"race/{number}", f"writer {writer}".encode()) for number in range(30)]


def test_one_of_several_processes_creates(store: ObjectStore) -> None:
    spawn = multiprocessing.get_context("spawn")
    with spawn.Manager() as manager, spawn.Pool(3) as pool:
        together = manager.Barrier(3)
        won = pool.starmap(_race, [(store, writer, together) for writer in range(3)], chunksize=1)
    for number in range(30):
        assert sum(each[number] for each in won) == 1
        winner = [each[number] for each in won].index(True)
        assert store.get(f"race/{number}") == f"writer {winner}".encode()


def test_ranges(store: ObjectStore) -> None:
    store.put("k", CONTENT)
    size = len(CONTENT)
    assert store.get_range("k", 0, size) == CONTENT
    assert store.get_range("k", size - 1, 1) == CONTENT[-1:]
    assert store.get_range("k", 17, 0) == b""
    assert store.get_ranges("k", []) == []
    random_ = random.Random(2)
    starts = [random_.randrange(size) for _ in range(200)]
    ranges = [(start, random_.randrange(min(5000, size - start))) for start in starts]
    ranges += [(0, 10), (10, 10), (20, 0), (5, 10), (5, 10), (size - 10, 10), (1_000_000, 10), (2_000_000, 500_000)]
    random_.shuffle(ranges)
    assert store.get_ranges("k", ranges) == [CONTENT[start : start + length] for start, length in ranges]


@pytest.mark.parametrize(
    "ranges",
    [
        [(0, 1000), (100, 10)],
        [(100, 10), (0, 1000), (999, 1), (500, 500), (1000, 1)],
        [(0, 300_000), (10, 5), (600_000, 10), (299_999, 1)],
        [(5, 5), (5, 5), (5, 0), (5, 6)],
    ],
)
def test_ranges_that_lie_in_others(store: ObjectStore, ranges: list[tuple[int, int]]) -> None:
    store.put("k", CONTENT)
    assert store.get_ranges("k", ranges) == [CONTENT[start : start + length] for start, length in ranges]


@pytest.mark.parametrize(
    "ranges",
    [
        [(10, 1)],
        [(9, 2)],
        [(0, 11)],
        [(1 << 40, 5)],
        [(0, 3), (50, 3)],
        [(0, 3), (10_000_000, 3)],
        [(-1, 3)],
        [(0, -1)],
        [(1 << 64, 1)],
        [((1 << 63) - 1, 1 << 63)],
    ],
)
def test_a_range_past_the_end_is_an_error(store: ObjectStore, ranges: list[tuple[int, int]]) -> None:
    store.put("k", b"0123456789")
    with pytest.raises(StoreError) as caught:
        store.get_ranges("k", ranges)
    assert type(caught.value) is StoreError
    assert "\n" not in str(caught.value)


def test_list_takes_whole_parts(store: ObjectStore) -> None:
    for key in ["packs/1/a", "packs/1/b", "packs/10/a", "packs2/a", "pack", "packs.x"]:
        store.put(key, b"12345")
    assert keys(store, "packs") == keys(store, "packs/") == ["packs/1/a", "packs/1/b", "packs/10/a"]
    assert keys(store, "packs/1") == ["packs/1/a", "packs/1/b"]
    assert keys(store, "pac") == keys(store, "none") == keys(store, "pack") == []
    assert {entry.size_bytes for entry in store.list("")} == {5}


def test_list_gives_all_of_many(store: ObjectStore) -> None:
    wanted = [f"n/{number % 7}/{number:05}" for number in range(2_500)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b""), wanted))
    assert keys(store, "n") == sorted(wanted)
    listing = store.list("n")
    next(listing)
    with pytest.raises(ZeroDivisionError):
        listing.throw(ZeroDivisionError())  # what happens to an entry is no error of the store


def test_odd_names(store: ObjectStore) -> None:
    for key in ODD_KEYS:
        store.put(key, key.encode())
        assert store.get(key) == key.encode()
        assert store.get_range(key, 0, 1) == key.encode()[:1]
        assert store.stat(key).size_bytes == len(key.encode())
        assert not store.put_if_absent(key, b"")
    assert keys(store) == sorted(ODD_KEYS)
    for key in ODD_KEYS:
        store.delete(key)
    assert keys(store) == []


@pytest.mark.parametrize(
    "key",
    [
        *("", "/etc/passwd", "../x", "a/../../x", "a/..", "a//b", "a/", "./a", "a/./b"),
        *("a\nb", "a\0b", "\ud800", "a#1", ".staging/x"),
    ],
)
def test_keys_that_leave_the_root_or_fit_no_store(store: ObjectStore, key: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.put(key, b"x"),
        lambda: store.put_if_absent(key, b"x"),
        lambda: store.get(key),
        lambda: store.get_range(key, 0, 1),
        lambda: store.get_range(key, 0, 0),
        lambda: store.stat(key),
        lambda: store.delete(key),
    ]
    if key not in ("", "a/"):
        calls.append(lambda: list(store.list(key)))
    for call in calls:
        with pytest.raises(UsageError) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert keys(store) == []


def test_what_is_not_there(store: ObjectStore) -> None:
    store.put("folder/object", b"x")
    for key in ["none", "folder", "folder/object/below", "folder/none"]:
        for call in (store.get, store.stat, lambda k: store.get_range(k, 0, 1)):
            with pytest.raises(NotFound, match=key):
                call(key)
        store.delete(key)
    assert keys(store) == ["folder/object"]
    store.delete("folder/object")
    store.delete("folder/object")
    assert keys(store) == []


def test_it_pickles_also_after_use(store: ObjectStore) -> None:
    store.put("k", b"x")
    again = pickle.loads(pickle.dumps(store))
    assert again.get("k") == b"x"
    assert again.root == store.root
    assert again == store


def test_packs_are_written_read_and_indexed_alike(store: ObjectStore, tmp_path: Path) -> None:
    blobs = [(CONTENT[n * 1000 : n * 9000], "a/b", f"cam-{n % 3}") for n in range(30)]
    refs = write_packs(store, tmp_path / "scratch", blobs, target_bytes=500_000)
    (tmp_path / "large").write_bytes(CONTENT)
    large = PackWriter(store, tmp_path).add_large(sha256_of(CONTENT), tmp_path / "large", "video/mp4", "cam-9")
    expected = {(ref, device) for ref, (_, _, device) in zip(refs, blobs, strict=True)} | {(large, "cam-9")}
    contents = {ref: data for ref, (data, _, _) in zip(refs, blobs, strict=True)} | {large: CONTENT}
    assert dict(scan(store, [*refs, large])) == contents
    for ways in ({"footer", "about"}, {"frames", "about"}):
        found = list(read_index(store))
        assert {index.way for index in found} == ways
        assert {blob for index in found for blob in index.blobs} == expected
        for key in pack_keys(store):
            store.put(key, without_footer(store.get(key)))


# What only a folder has


def test_a_folder_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/none")
    for call in (lambda: store.stat("k"), lambda: store.get("k"), lambda: list(store.list(""))):
        with pytest.raises(NotFound, match="none"):
            call()
    assert not (tmp_path / "none").exists()
    store.put("k", b"x")
    assert store.get("k") == b"x"


def test_what_is_being_written_is_no_object(tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path))
    (tmp_path / ".staging").mkdir()
    (tmp_path / ".staging" / "half.pack").write_bytes(b"half")
    assert keys(store) == []
    with pytest.raises(NotFound):
        store.put("k", tmp_path / "no such source")
    assert keys(store) == []
    assert [path.name for path in (tmp_path / ".staging").iterdir()] == ["half.pack"]


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path))
    store.put("a", b"x")
    with pytest.raises(StoreError) as caught:
        store.put("a/b", b"x")
    assert "\n" not in str(caught.value)


# What only a bucket has


def changed(settings: S3Settings, **values: object) -> S3Settings:
    return settings.model_copy(update={"max_retries": 1, **values})


CALLS: dict[str, Callable[[ObjectStore], object]] = {
    "put": lambda store: store.put("k", b"x"),
    "put_if_absent": lambda store: store.put_if_absent("k", b"x"),
    "get": lambda store: store.get("k"),
    "get_range": lambda store: store.get_range("k", 0, 1),
    "stat": lambda store: store.stat("k"),
    "list": lambda store: list(store.list("")),
    "delete": lambda store: store.delete("k"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("bucket_name", "values", "wanted", "said"),
    [
        ("no-such-bucket", {}, NotFound, "no-such-bucket"),
        (None, {"secret_access_key": SecretStr("swordfish-swordfish")}, AccessDenied, "keys"),
        (None, {"access_key_id": "nobody-403"}, AccessDenied, "keys"),
        (None, {"access_key_id": None}, AccessDenied, "keys"),
        (None, {"endpoint_url": "http://127.0.0.1:9"}, StoreUnavailable, "endpoint"),
        (None, {"endpoint_url": "127.0.0.1:9000"}, UsageError, "http://host:port"),
    ],
    ids=["bucket", "secret", "key", "anonymous", "endpoint", "no-scheme"],
)
def test_what_is_wrong_is_one_line_of_the_right_class(
    minio: MinioServer,
    bucket: str,
    call: str,
    bucket_name: str | None,
    values: dict[str, object],
    wanted: type[LakeError],
    said: str,
) -> None:
    store = BucketStore(f"s3://{bucket_name or bucket}/x", changed(minio.settings, **values))
    with pytest.raises(wanted) as caught:
        CALLS[call](store)
    assert type(caught.value) is wanted
    text = str(caught.value)
    assert said in text
    assert "\n" not in text
    assert len(text) < 500
    for secret in (minio.secret_access_key, "swordfish"):
        assert secret not in text + repr(caught.value) + repr(store) + str(store) + repr(caught.value.__cause__)


@pytest.mark.parametrize("word", ["403", "AccessDenied", "dns", "Connect", "timed out", "NoSuchBucket"])
def test_a_name_is_not_taken_for_a_reason(minio: MinioServer, bucket: str, word: str, tmp_path: Path) -> None:
    folder = FolderStore(str(tmp_path / word))
    for store in (BucketStore(f"s3://{bucket}/{word}", minio.settings), folder):
        store.put(f"{word}.pack", b"0123456789")
        with pytest.raises(StoreError) as caught:
            store.get_range(f"{word}.pack", 10, 5)
        assert type(caught.value) is StoreError
        with pytest.raises(NotFound, match="no object"):
            store.get(f"{word}.none")


@pytest.mark.parametrize("word", ["error sending request", "timed out", "status code: 503", "status code: 403"])
def test_a_path_is_not_taken_for_a_reason(word: str) -> None:
    from obstore.exceptions import GenericError

    with pytest.raises(StoreError) as caught, errors(f"/data/{word}", f"{word}/k"):
        raise GenericError(f"Unable to open file /data/{word}/{word}/k: Input/output error (os error 5)")
    assert type(caught.value) is StoreError
    with pytest.raises(StoreUnavailable), errors("/data", "k"):
        raise GenericError("Error performing GET http://host/k in 1s - HTTP error: error sending request")


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_create_whose_answer_was_lost_is_ours(minio: MinioServer, bucket: str, size: int) -> None:
    with S3Proxy(minio, lose_answer_to=1) as proxy:
        store = BucketStore(f"s3://{bucket}", changed(minio.settings, endpoint_url=proxy.endpoint_url))
        content = CONTENT[:size]
        assert store.put_if_absent("k", content)
        assert len(proxy.puts) == 2
        assert not store.put_if_absent("k", content)
        proxy.count_anew(1)
        assert not store.put_if_absent("k", b"other"), "another one's object was there before ours"
    assert store.s3.endpoint_url != minio.endpoint_url
    assert BucketStore(f"s3://{bucket}", minio.settings).get("k") == content


def test_a_conflict_is_tried_again_and_a_precondition_is_not() -> None:
    from obstore.exceptions import AlreadyExistsError

    with pytest.raises(StoreUnavailable), errors("s3://b", "k"):
        raise AlreadyExistsError("status code: 409 <Code>ConditionalRequestConflict</Code>")
    with pytest.raises(AlreadyExists), errors("s3://b", "k"):
        raise AlreadyExistsError("status code: 412 <Code>PreconditionFailed</Code>")


def test_s3_without_settings() -> None:
    with pytest.raises(UsageError, match="AWS_ENDPOINT_URL"):
        open_store("s3://bucket")
