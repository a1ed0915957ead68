"""The JARs that Spark needs beside its own: fetched once by the Ivy that pyspark ships, checked against a lock.

    python -m lake.jvm.resolve [--s3] [--relock]

``jars.lock`` names Maven coordinates with the sha256 of each file, in two sets: ``delta`` (all a folder root needs)
and ``s3``. Nothing is resolved when a session starts.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

from lake.errors import LakeError, SettingsError, unwritable_cache

LOCK = Path(__file__).with_name("jars.lock")

WANTED = {
    "delta": ("io.delta:delta-spark_4.2_2.13:4.4.0",),
    "s3": (
        "org.apache.hadoop:hadoop-aws:3.5.0",
        "software.amazon.awssdk:s3:2.35.4",
        "software.amazon.awssdk:s3-transfer-manager:2.35.4",
        "software.amazon.awssdk:sts:2.35.4",
        "software.amazon.awssdk:apache-client:2.35.4",
        "software.amazon.s3.analyticsaccelerator:analyticsaccelerator-s3:1.3.1",
    ),
}
"""What ``--relock`` starts from. hadoop-aws asks for the AWS bundle of 686 MB: the four modules above do instead."""

LEFT_OUT = ("bundle", "hadoop-client-api", "hadoop-client-runtime")

SETTINGS = """<ivysettings><settings defaultResolver="central"/>
<resolvers><ibiblio name="central" m2compatible="true"/></resolvers></ivysettings>"""


@dataclass(frozen=True)
class Jar:
    """One line of the lock."""

    set_name: str
    coordinate: str
    sha256: str

    @property
    def file_name(self) -> str:
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


def read_lock(path: Path = LOCK) -> list[Jar]:
    lines = (line.split("#", 1)[0].split() for line in path.read_text(encoding="utf-8").splitlines())
    return [Jar(*fields) for fields in lines if fields]


def wanted(s3: bool) -> list[Jar]:
    return [jar for jar in read_lock() if s3 or jar.set_name == "delta"]


def jars(cache: Path, s3: bool) -> list[Path]:
    """Paths of the JARs of one set; ``SettingsError`` says how to fetch them. Runs on the driver."""
    paths = [folder(cache) / jar.file_name for jar in wanted(s3)]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        what = f"{len(missing)} JARs are missing in {folder(cache)} ({missing[0]} …)"
        raise SettingsError(f"{what}: run `make {setup_target(s3)}`")
    return paths


def setup_target(s3: bool) -> str:
    """What to make when a JAR or the archive is missing or wrong."""
    return "setup-s3" if s3 else "setup"


def folder(cache: Path) -> Path:
    return cache / "jars"


def fetch(cache: Path, s3: bool) -> int:
    """Fetch what is missing of a set, verify it, and return how many were fetched.

    Raises:
        LakeError: a JAR cannot be had or kept, or is not the one that the lock names.
    """
    try:
        return fetch_jars(folder(cache), wanted(s3))
    except OSError as error:
        raise unwritable_cache(folder(cache), error) from error


def fetch_jars(target: Path, jars: Sequence[Jar]) -> int:
    """Fetch what is missing of these in a folder, verify it, and return how many were fetched."""
    target.mkdir(parents=True, exist_ok=True)
    missing = [jar for jar in jars if _sha256_of(target / jar.file_name) != jar.sha256]
    if not missing:
        return 0
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="jars-") as scratch:
        _ivy(Path(scratch), [jar.coordinate for jar in missing], transitive=False)
        for jar in missing:
            found = Path(scratch) / "out" / jar.file_name
            if _sha256_of(found) != jar.sha256:
                raise LakeError(f"{jar.coordinate} is not the file that the lock names: {_sha256_of(found)}")
            # Renamed into place, so that two set-ups at once leave whole files.
            found.replace(target / jar.file_name)
    return len(missing)


def verify(cache: Path, s3: bool) -> list[str]:
    """File names of a set that are not what the lock names."""
    return [jar.file_name for jar in wanted(s3) if _sha256_of(folder(cache) / jar.file_name) != jar.sha256]


def relock() -> None:
    """Resolve ``WANTED`` transitively, leave out what pyspark ships, and write the lock anew."""
    shipped = {_artifact(path.name) for path in (pyspark_folder() / "jars").glob("*.jar")} | set(LEFT_OUT)
    lines = ["# set coordinate sha256; written by `python -m lake.jvm.resolve --relock`"]
    taken: set[str] = set()
    for set_name, coordinates in WANTED.items():
        with tempfile.TemporaryDirectory() as scratch:
            _ivy(Path(scratch), list(coordinates), transitive=True)
            for path in sorted((Path(scratch) / "out").glob("*.jar")):
                organisation, rest = path.name.split("+", 1)
                artifact = _artifact(rest)
                if artifact in shipped or artifact in taken:
                    continue
                taken.add(artifact)
                version = rest.removeprefix(artifact + "-").removesuffix(".jar")
                lines.append(f"{set_name} {organisation}:{artifact}:{version} {_sha256_of(path)}")
    LOCK.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _artifact(file_name: str) -> str:
    return re.sub(r"-\d.*\.jar$", "", file_name)


def _ivy(scratch: Path, coordinates: list[str], *, transitive: bool) -> None:
    depends = "".join(
        f"<dependency org={quoteattr(o)} name={quoteattr(a)} rev={quoteattr(v)} "
        f'conf="default-&gt;default" transitive="{str(transitive).lower()}"><exclude module="bundle"/></dependency>'
        for o, a, v in (coordinate.split(":") for coordinate in coordinates)
    )
    (scratch / "settings.xml").write_text(SETTINGS, encoding="utf-8")
    (scratch / "ivy.xml").write_text(
        '<ivy-module version="2.0"><info organisation="lake" module="jars"/><configurations><conf name="default"/>'
        f"</configurations><dependencies>{depends}</dependencies></ivy-module>",
        encoding="utf-8",
    )
    (ivy,) = (pyspark_folder() / "jars").glob("ivy-*.jar")
    pattern = "[artifact]-[revision].[ext]" if not transitive else "[organisation]+[artifact]-[revision].[ext]"
    command = [_java(), "-jar", str(ivy), "-settings", "settings.xml", "-ivy", "ivy.xml", "-cache", "cache"]
    command += ["-retrieve", f"out/{pattern}", "-types", "jar", "bundle"]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode or not (scratch / "out").is_dir():
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if "WARN" in line or "FAIL" in line]
        raise LakeError(
            f"JARs cannot be fetched: {said[0] if said else done.stderr.strip()[:200]}; is there a network?"
        )


def pyspark_folder() -> Path:
    """Where pyspark is installed, found without importing it."""
    import importlib.util

    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise SettingsError("pyspark is not installed: run `make setup`")
    # A driver that spark-submit started has a zip of pyspark first in its path: the JARs are in the installed one.
    places = [Path(spec.origin).parent, *(Path(folder) / "pyspark" for folder in sys.path)]
    return next((place for place in places if (place / "jars").is_dir()), places[0])


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None)
    if found is None:
        raise SettingsError("no Java: install Java 17 (Debian: apt-get install openjdk-17-jre-headless)")
    return found


def _sha256_of(path: Path) -> str | None:
    if not path.exists():
        return None
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def main() -> None:
    from lake.settings import cache_dir

    parser = argparse.ArgumentParser(description="Fetch the JARs of the lock into the cache.")
    parser.add_argument("--s3", action="store_true", help="also what an s3:// root needs")
    parser.add_argument("--relock", action="store_true", help="resolve anew and write the lock")
    arguments = parser.parse_args()
    try:
        if arguments.relock:
            relock()
        fetched = fetch(cache_dir(), arguments.s3)
    except LakeError as error:
        sys.exit(f"lake: {error}")
    if fetched:
        print(f"{fetched} JARs fetched, {len(wanted(arguments.s3))} in place", file=sys.stderr)


if __name__ == "__main__":
    main()
