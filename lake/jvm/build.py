"""Build the jar of the lake's LogStore from the sources beside it: the same bytes on every machine.

python -m lake.jvm.build [OUT]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from lake.jvm.resolve import jars
from lake.jvm.store_jar import STORE_JAR

SOURCES = Path(__file__).parent / "org" / "perceptionlake"
EPOCH = (1980, 1, 1, 0, 0, 0)


def build(out: Path, cache: Path) -> Path:
    """Compile with any JDK from 17 on and zip the classes in order of name, with a fixed date."""
    import pyspark

    shipped = Path(pyspark.__file__).parent / "jars"
    class_path = ":".join([*map(str, jars(cache, s3=False)), f"{shipped}/*"])
    with tempfile.TemporaryDirectory() as classes:
        command = ["javac", "--release", "17", "-g:none", "-nowarn", "-cp", class_path, "-d", classes]
        subprocess.run([*command, *map(str, sorted(SOURCES.glob("*.java")))], check=True)  # noqa: S603
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as jar:
            for path in sorted(Path(classes).rglob("*.class")):
                info = zipfile.ZipInfo(path.relative_to(classes).as_posix(), EPOCH)
                jar.writestr(info, path.read_bytes())
    return out


if __name__ == "__main__":
    from lake.settings import cache_dir

    print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else STORE_JAR, cache_dir()))
