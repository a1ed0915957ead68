"""An upload in parts whose answers get lost, one after the other: its beginning, each part, and its end."""

from __future__ import annotations

import random
from pathlib import Path

import obstore
import pytest

from lake.errors import NotFound
from lake.store.foreign import errors
from lake.store.objects import BucketStore
from tests.support.minio import MinioServer
from tests.support.proxy import S3Proxy

pytestmark = pytest.mark.timeout(120)

CONTENT = random.Random(2).randbytes(12_000_000)
"""Three parts, by obstore's measure."""


def test_it_is_whole_whichever_answer_is_lost(minio: MinioServer, bucket: str, tmp_path: Path) -> None:
    """The end, asked for again, is answered that there is no such upload: what lies there is read back."""
    source = tmp_path / "file"
    source.write_bytes(CONTENT)
    lost: list[str] = []
    with S3Proxy(minio) as proxy:
        store = BucketStore(f"s3://{bucket}", minio.settings.model_copy(update={"endpoint_url": proxy.endpoint_url}))
        while True:
            proxy.count_anew(len(lost) + 1)
            store.put("k", source)
            assert store.get("k") == CONTENT, f"after the lost answer to {proxy.lost}"
            store.delete("k")
            if not proxy.lost:
                break
            lost += proxy.lost
        assert "?uploads" in lost[0]
        assert [path.count("partNumber=") for path in lost] == [0, 1, 1, 1, 0]
        # Without reading back the last of them is an error, though the object is there.
        proxy.count_anew(len(lost))
        with pytest.raises(NotFound), errors(store.root, "k"):
            obstore.put(store._client, "k", source)
        assert store.get("k") == CONTENT
        # And with other bytes there it is no success: the upload was ended by somebody else.
        assert not store._holds("k", CONTENT[:-1])
        assert not store._holds("k", CONTENT[:-1] + b"x")
