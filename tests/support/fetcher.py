"""One of several processes that want the same model at the same moment. Told what to do on the command line.

python -m tests.support.fetcher ROOT CACHE NAME [STOP_AFTER]
Waits for a line on stdin, then prints as JSON: the folder, and how often it read the store. With STOP_AFTER it says
``stopped`` after so many reads and sleeps, to be killed.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from lake.models import cache
from lake.models.registry import find, of_row
from lake.models.uri import parse_registered
from lake.store.objects import FolderStore
from lake.tables import Tables


def main() -> None:
    root, folder, name, stop_after = [*sys.argv[1:], "0"][:4]
    model = of_row(find(Tables(root), parse_registered(name)))
    store, reads = FolderStore(root), [0]
    read = FolderStore.get_range

    def counted(self: FolderStore, key: str, offset: int, length: int) -> bytes:
        reads[0] += 1
        if reads[0] == int(stop_after):
            print("stopped", flush=True)
            time.sleep(60)
        time.sleep(0.02)  # so that those who come at the same time do meet
        return read(self, key, offset, length)

    FolderStore.get_range = counted  # type: ignore[method-assign]
    cache.CHUNK_BYTES = 200_000
    print("ready", flush=True)
    sys.stdin.readline()
    found = cache.localized(model, store, Path(folder))
    print(json.dumps({"folder": str(found), "reads": reads[0]}), flush=True)


if __name__ == "__main__":
    main()
