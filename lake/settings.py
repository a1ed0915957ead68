"""Settings: YAML profiles and the environment become one frozen value at the edge; below it, plain arguments.

Order, later wins: the defaults here, ``conf/lake.yaml``, ``conf/profiles/<profile>.yaml``, the environment
(``LAKE_ROOT``, ``LAKE_PROFILE``, ``LAKE_REMOTE``, ``AWS_*``), the command line. Secrets come from the environment or
from a file outside the repository, never from a profile. Executors never read configuration: what they need travels
with the task.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from lake.cluster.resources import Resources
from lake.errors import SettingsError
from lake.media.limits import Limits

SECRET_WORDS = ("secret", "password", "token", "access_key", "access.key")
NAMING_SECRETS = re.compile(r"pullSecrets|\.secrets\.|secretKeyRef|File$")
"""Keys of Spark's settings whose value only names where a secret is: a Secret of Kubernetes, a file."""
DEFAULT_ROOT = "./lake-data"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class S3Settings(_Frozen):
    """An S3 endpoint; the standard ``AWS_*`` variables win over the profile."""

    endpoint_url: str | None = None
    """``http://127.0.0.1:9000`` for a MinIO; null for AWS itself."""
    region: str = "us-east-1"
    access_key_id: str | None = None
    secret_access_key: SecretStr | None = None
    credentials_file: Path | None = None
    """A file outside the repository with ``AWS_ACCESS_KEY_ID=…`` and ``AWS_SECRET_ACCESS_KEY=…`` lines."""
    request_timeout_s: float = 30.0
    max_retries: int = 4

    @property
    def secret(self) -> str | None:
        return self.secret_access_key.get_secret_value() if self.secret_access_key else None


class IngestSettings(_Frozen):
    """How recordings are landed."""

    wave_max_arrivals: int = 2048
    """Arrivals committed at once; a killed run loses at most one wave."""
    wave_max_bytes: int = 1024**3
    pack_target_bytes: int = 128 * 1024**2
    max_blob_bytes: int = 8 * 1024**2
    """Recordings from this size on get a key of their own instead of a place in a pack."""


class AnalysisSettings(_Frozen):
    """How analyses are run."""

    wave_max_recordings: int = 4096
    wave_max_bytes: int = 2 * 1024**3
    models: dict[str, str | list[str]] = Field(default_factory=dict)
    """URIs of the models that an analysis takes instead of its own, by analysis: ``transcript: lake:asr/small@3``."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """On what models compute; ``auto`` takes a GPU where there is one, ``cuda`` fails where there is none."""


class StoreSettings(_Frozen):
    """How contents are stored."""

    recompress: bool = False
    """Whether ``lake maintain`` and ``lake store compact`` compress what is not compressed already, without loss."""


class SqlSettings(_Frozen):
    """How queries are answered."""

    spark_from_bytes: int = 4 * 1024**3
    """``--engine auto`` asks Spark when the tables of a query are at least this large together."""


class SparkSettings(_Frozen):
    """Spark's own settings; ``conf`` takes any of its keys."""

    master: str = "local[*]"
    slots: int | None = None
    """Tasks that run at once on a cluster: what work is cut for. Null: as ``resources`` say, else the cores here."""
    resources: Resources = Field(default_factory=Resources)
    deploy_mode: Literal["client", "cluster"] = "client"
    """Where ``lake submit`` has the driver run: on this machine, or (YARN, Kubernetes) in the cluster."""
    ship_code: bool = True
    """Send the code to executors as a zip. False: they have it installed, and ``lake doctor --cluster`` compares."""
    environment: str | None = None
    """Packages of the executors: null, installed there; ``packed``, the virtual environment of this command; else the
    ``.tar.gz`` of an environment."""
    image: str | None = None
    """Container image of driver and executors, on YARN and Kubernetes."""
    python: str | None = None
    """Python of the executors. Null: of ``environment``, ``python3`` in an ``image``, else where it is here."""
    keys_from: str | None = None
    """Kubernetes: the Secret that has ``AWS_ACCESS_KEY_ID`` and the other key, for a driver in the cluster."""
    driver_memory: str = "2g"
    shuffle_partitions: int = 4
    short_jobs: bool = True
    """Use the quick compiler only: right for jobs of a minute, wrong for hours."""
    conf: dict[str, str] = Field(default_factory=dict)


class Settings(_Frozen):
    """Everything a verb needs to know."""

    root: str = DEFAULT_ROOT
    """A folder or ``s3://bucket/prefix``."""
    profile: str = "local"
    conf_dir: Path
    """Where devices, themes and profiles lie."""
    cache_dir: Path
    """JARs and the class-data archive."""
    remote: str | None = None
    """A Spark that runs elsewhere, ``sc://host:port/;token=…`` (``LAKE_REMOTE``): verbs start none then."""
    engine: Literal["auto", "local", "spark"] = "auto"
    workers: int | None = None
    """Processes of the local engine; null: the cores of this machine."""
    s3: S3Settings = Field(default_factory=S3Settings)
    ingest: IngestSettings = Field(default_factory=IngestSettings)
    analysis: AnalysisSettings = Field(default_factory=AnalysisSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    sql: SqlSettings = Field(default_factory=SqlSettings)
    spark: SparkSettings = Field(default_factory=SparkSettings)
    limits: Limits = Field(default_factory=Limits)

    @property
    def is_s3(self) -> bool:
        return self.root.startswith("s3://")

    def storage_options(self) -> dict[str, str] | None:
        """Options for delta-rs; None for a folder."""
        if not self.is_s3:
            return None
        given = {
            "AWS_ENDPOINT_URL": self.s3.endpoint_url,
            "AWS_REGION": self.s3.region,
            "AWS_ACCESS_KEY_ID": self.s3.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.s3.secret,
            "AWS_ALLOW_HTTP": "true" if (self.s3.endpoint_url or "").startswith("http://") else None,
            "conditional_put": "etag",
            "timeout": f"{self.s3.request_timeout_s:g}s",
            # Ten tries with the usual waits are over after two seconds: a server that restarts takes longer.
            "backoff_config.init_backoff": "500ms",
            "backoff_config.max_backoff": "1s",
        }
        return {key: value for key, value in given.items() if value is not None}

    def s3_options(self) -> dict[str, str | None]:
        """Plain values for the bucket connector."""
        return {
            "endpoint_url": self.s3.endpoint_url,
            "access_key_id": self.s3.access_key_id,
            "secret_access_key": self.s3.secret,
            "region": self.s3.region,
        }


def load_settings(
    root: str | None = None,
    profile: str | None = None,
    conf_dir: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Settings from files, environment and arguments. Raises ``SettingsError`` naming file, key and nearest key."""
    conf = conf_dir or find_conf(environ)
    common = conf / "lake.yaml"
    read = {common: _read(common)} if common.exists() else {}
    merged = read.get(common, {})
    name = profile or environ.get("LAKE_PROFILE") or str(merged.get("profile", "local"))
    path = conf / "profiles" / f"{name}.yaml"
    if not path.exists():
        raise SettingsError(f"no profile {name!r}: {_known_profiles(conf, name)}")
    read[path] = _read(path)
    merged = _merge(merged, read[path])
    merged |= {"profile": name, "conf_dir": conf, "cache_dir": cache_dir(environ)}
    merged["remote"] = environ.get("LAKE_REMOTE") or None
    merged["root"] = _absolute(_first(root, environ.get("LAKE_ROOT") or None, merged.get("root"), DEFAULT_ROOT))
    merged["s3"] = _s3(merged.get("s3", {}), environ, path)
    if not str(merged["remote"] or "sc://").startswith("sc://"):
        raise SettingsError("LAKE_REMOTE: write sc://host:port, with /;token=… where the server wants one")
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise SettingsError(_said(error, read)) from error


def _first(*values: Any) -> str:
    return str(next(value for value in values if value is not None))


def _known_profiles(conf: Path, name: str) -> str:
    known = sorted(path.stem for path in (conf / "profiles").glob("*.yaml"))
    near = difflib.get_close_matches(name, known, 1, 0.5)
    return f"did you mean {near[0]!r}?" if near else f"{conf / 'profiles'} has {', '.join(known) or 'none'}"


def find_conf(environ: Mapping[str, str]) -> Path:
    """``LAKE_CONF``, else ``conf`` here, else ``conf`` beside the package of a checkout."""
    named = environ.get("LAKE_CONF")
    candidates = [Path(named)] if named else [Path("conf"), Path(__file__).resolve().parent.parent / "conf"]
    for candidate in candidates:
        if (candidate / "profiles").is_dir():
            return candidate.absolute()
    raise SettingsError(f"no folder of settings at {candidates[0]}: set LAKE_CONF to the project's conf folder")


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where JARs and other things fetched once are kept: ``LAKE_CACHE``, else the user's cache folder."""
    base = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME") or "~").expanduser() / ".cache")
    return Path(environ.get("LAKE_CACHE") or Path(base) / "perception-lake")


def _absolute(root: str) -> str:
    if not root.strip():
        raise SettingsError("the root is empty: name a folder or s3://bucket/prefix")
    if root.startswith("s3://"):
        bucket, _, prefix = root.removeprefix("s3://").partition("/")
        if not bucket:
            raise SettingsError(f"root {root!r} names no bucket: write s3://bucket or s3://bucket/prefix")
        return "/".join([f"s3://{bucket}", *(part for part in prefix.split("/") if part)])
    if "://" in root and not root.startswith("file:///"):
        raise SettingsError(f"root {root!r}: use a folder or s3://bucket/prefix")
    return os.path.normpath(Path(root.removeprefix("file://")).expanduser().absolute())


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{path}: settings are a mapping of keys to values")
    _refuse_unknown(found, Settings, path, "")
    for key in ("root", "profile"):
        if not isinstance(found.get(key, ""), str):
            raise SettingsError(f"{path}: {key} is text, not {found[key]!r}")
    return found


def _refuse_unknown(found: Mapping[str, Any], model: type[BaseModel], path: Path, prefix: str) -> None:
    known = model.model_fields
    for key, value in found.items():
        if key in ("conf_dir", "cache_dir", "remote"):
            variable = {"conf_dir": "LAKE_CONF", "cache_dir": "LAKE_CACHE", "remote": "LAKE_REMOTE"}[str(key)]
            raise SettingsError(f"{path}: {key} is set by the environment ({variable}), not in a file")
        _refuse_secret(str(key), path, prefix)
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1, 0.4)
            hint = f", did you mean {prefix}{near[0]}?" if near else f": known are {', '.join(known)}"
            raise SettingsError(f"{path}: unknown key {prefix}{key}{hint}")
        inner = known[key].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            if not isinstance(value, Mapping):
                raise SettingsError(f"{path}: {prefix}{key} is a mapping of keys to values, not {value!r}")
            _refuse_unknown(value, inner, path, f"{prefix}{key}.")
        elif isinstance(value, Mapping) and f"{prefix}{key}" == "spark.conf":
            for each in value:
                if not NAMING_SECRETS.search(str(each)):
                    _refuse_secret(str(each), path, f"{prefix}{key}.")


def _refuse_secret(key: str, path: Path, prefix: str) -> None:
    if any(word in key.lower() for word in SECRET_WORDS):
        raise SettingsError(f"{path}: {prefix}{key} is a secret: use AWS_* variables or s3.credentials_file")


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(merged.get(key), dict) and isinstance(value, Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _s3(found: Mapping[str, Any], environ: Mapping[str, str], path: Path) -> dict[str, Any]:
    s3 = dict(found)
    given = dict(environ)
    if s3.get("credentials_file"):
        given = {**_credentials(Path(str(s3["credentials_file"])).expanduser(), path), **given}
    for variable, key in (
        ("AWS_ENDPOINT_URL", "endpoint_url"),
        ("AWS_REGION", "region"),
        ("AWS_ACCESS_KEY_ID", "access_key_id"),
        ("AWS_SECRET_ACCESS_KEY", "secret_access_key"),
    ):
        if given.get(variable):
            s3[key] = given[variable]
    return s3


def _credentials(file: Path, named_in: Path) -> dict[str, str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SettingsError(f"{named_in}: s3.credentials_file {file} cannot be read: {error.strerror}") from error
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip().upper(): value.strip().strip("'\"") for key, value in pairs}


def _said(error: ValidationError, read: Mapping[Path, Mapping[str, Any]]) -> str:
    """The first mistake in one line, with the file that holds it: the last one that sets the key."""
    first = error.errors()[0]
    places = [path for path, values in read.items() if _has(values, first["loc"])]
    where = f"{places[-1]}: " if places else ""
    return f"{where}{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"


def _has(values: Any, keys: Sequence[str | int]) -> bool:
    for key in keys:
        if not isinstance(values, Mapping) or key not in values:
            return False
        values = values[key]
    return True
