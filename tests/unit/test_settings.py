"""Settings: which value wins, what is refused and how it is said, and that no secret is ever shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lake.errors import SettingsError
from lake.settings import Settings, cache_dir, load_settings
from lake.tables import Tables

SECRET = "do-not-show-me-4711"


class Conf:
    """A folder of settings: ``lake.yaml`` and profiles as text."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "profiles").mkdir(parents=True)
        self.write("profiles/local.yaml", "")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def load(
        self, root: str | None = None, profile: str | None = None, environ: Mapping[str, str] | None = None
    ) -> Settings:
        return load_settings(root, profile, self.folder, environ or {})

    def refused(self, **arguments: Any) -> str:
        """The one line that says what is wrong."""
        with pytest.raises(SettingsError) as caught:
            self.load(**arguments)
        said = str(caught.value)
        assert "\n" not in said and caught.value.exit_status == 2
        return said


@pytest.fixture
def conf(tmp_path: Path) -> Conf:
    return Conf(tmp_path / "conf")


def test_later_wins(conf: Conf) -> None:
    """Defaults, lake.yaml, profile, environment, arguments."""
    assert conf.load().root == str(Path("lake-data").absolute())
    conf.write("lake.yaml", "root: /from/lake-yaml\nworkers: 3\nspark: {driver_memory: 3g}\n")
    assert conf.load().root == "/from/lake-yaml"
    conf.write("profiles/local.yaml", "root: /from/profile\nspark: {shuffle_partitions: 9}\n")
    settings = conf.load()
    assert (settings.root, settings.workers) == ("/from/profile", 3)
    assert (settings.spark.driver_memory, settings.spark.shuffle_partitions) == ("3g", 9), "mappings are merged"
    assert conf.load(environ={"LAKE_ROOT": "/from/environment"}).root == "/from/environment"
    assert conf.load("/from/argument", environ={"LAKE_ROOT": "/from/environment"}).root == "/from/argument"
    assert conf.load(environ={"LAKE_ROOT": ""}).root == "/from/profile", "an empty variable counts as not set"


def test_profile_is_named_by_argument_environment_or_file(conf: Conf) -> None:
    for name in ("one", "two", "three"):
        conf.write(f"profiles/{name}.yaml", f"root: /{name}\n")
    assert conf.load().profile == "local"
    conf.write("lake.yaml", "profile: one\n")
    assert conf.load().profile == "one"
    assert conf.load(environ={"LAKE_PROFILE": "two"}).profile == "two"
    assert conf.load(profile="three", environ={"LAKE_PROFILE": "two"}).root == "/three"
    assert "did you mean 'three'?" in conf.refused(profile="tree")
    assert "has local, one, three, two" in conf.refused(profile="zzzzzz")


def test_s3_from_the_standard_variables_over_the_profile(conf: Conf) -> None:
    conf.write("profiles/local.yaml", "s3: {endpoint_url: 'http://profile:9000', region: eu-west-1, max_retries: 2}\n")
    s3 = conf.load().s3
    assert (s3.endpoint_url, s3.region, s3.access_key_id, s3.secret) == ("http://profile:9000", "eu-west-1", None, None)
    given = {
        "AWS_ENDPOINT_URL": "http://variable:9000",
        "AWS_REGION": "cn-north-1",
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }
    s3 = conf.load(environ=given).s3
    assert (s3.endpoint_url, s3.region, s3.access_key_id, s3.secret) == (*list(given.values())[:3], SECRET)
    assert s3.max_retries == 2
    options = conf.load("s3://b/p", environ=given).storage_options()
    assert options is not None and options["AWS_SECRET_ACCESS_KEY"] == SECRET
    assert options["conditional_put"] == "etag", "without it delta-rs would overwrite a commit of another writer"
    assert conf.load("/folder", environ=given).storage_options() is None


def test_credentials_file(conf: Conf, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\nexport_of = 1\naws_access_key_id = filed\nAWS_SECRET_ACCESS_KEY='{SECRET}'\n")
    conf.write("profiles/local.yaml", f"s3: {{credentials_file: '{file}'}}\n")
    s3 = conf.load().s3
    assert (s3.access_key_id, s3.secret) == ("filed", SECRET)
    assert conf.load(environ={"AWS_ACCESS_KEY_ID": "variable"}).s3.access_key_id == "variable"
    file.unlink()
    said = conf.refused()
    assert str(file) in said and "local.yaml" in said


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("rooot: /x", "unknown key rooot, did you mean root?"),
        ("spark: {mastr: local}", "unknown key spark.mastr, did you mean spark.master?"),
        ("limits: {memory_byte: 1}", "unknown key limits.memory_byte, did you mean limits.memory_bytes?"),
        ("ingest: {pack_target_byts: 1}", "did you mean ingest.pack_target_bytes?"),
        ("zzzz: 1", "unknown key zzzz: known are root, profile"),
        ("1: 2", "unknown key 1"),
        ("conf_dir: /x", "LAKE_CONF"),
    ],
)
@pytest.mark.parametrize("name", ["lake.yaml", "profiles/local.yaml"])
def test_unknown_key_names_file_and_nearest_key(conf: Conf, name: str, text: str, hint: str) -> None:
    conf.write(name, text + "\n")
    said = conf.refused()
    assert said.startswith(str(conf.folder / name)) and hint in said


@pytest.mark.parametrize(
    "text",
    [
        "s3: {secret_access_key: x}",
        "s3: {access_key_id: x}",
        "s3: {session_token: x}",
        "password: x",
        "spark: {conf: {spark.hadoop.fs.s3a.secret.key: x}}",
        "spark: {conf: {spark.hadoop.fs.s3a.access.key: x}}",
        "spark: {conf: {spark.ssl.keyPassword: x}}",
        "spark: {conf: {spark.kubernetes.driverEnv.AWS_SECRET_ACCESS_KEY: x}}",
        "spark: {conf: {spark.kubernetes.authenticate.submission.oauthToken: x}}",
    ],
)
def test_secrets_in_a_file_are_refused(conf: Conf, text: str) -> None:
    conf.write("profiles/local.yaml", text.replace("x}", SECRET + "}").replace(": x", ": " + SECRET) + "\n")
    said = conf.refused()
    assert "is a secret: use AWS_* variables or s3.credentials_file" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    "key",
    [
        "spark.kubernetes.container.image.pullSecrets",
        "spark.kubernetes.driver.secrets.tls",
        "spark.kubernetes.executor.secretKeyRef.AWS_SECRET_ACCESS_KEY",
        "spark.kubernetes.authenticate.submission.oauthTokenFile",
    ],
)
def test_where_a_secret_is_may_be_named(conf: Conf, key: str) -> None:
    conf.write("profiles/local.yaml", f"spark: {{conf: {{{key}: named}}}}\n")
    assert conf.load().spark.conf == {key: "named"}


def test_an_analysis_may_have_any_name(conf: Conf) -> None:
    conf.write("profiles/local.yaml", "analysis: {models: {token_count: 'lake:asr/small@3'}}\n")
    assert conf.load().analysis.models == {"token_count": "lake:asr/small@3"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("spark: {slots: four}", "spark.slots: input should be a valid integer"),
        ("workers: [1]", "workers: input should be a valid integer"),
        ("engine: sparc", "engine: input should be 'auto', 'local' or 'spark'"),
        ("s3: http://x", "s3 is a mapping of keys to values, not 'http://x'"),
        ("s3:", "s3 is a mapping of keys to values, not None"),
        ("spark: [1]", "spark is a mapping"),
        ("spark: {conf: {a: [1]}}", "spark.conf.a: input should be a valid string"),
        ("[1, 2]", "settings are a mapping of keys to values"),
        ("a: b: c", "cannot be read"),
        ("root: {a: 1}", "root is text"),
    ],
)
@pytest.mark.parametrize("name", ["lake.yaml", "profiles/local.yaml"])
def test_wrong_values_are_one_line_with_the_file(conf: Conf, name: str, text: str, said: str) -> None:
    conf.write(name, text + "\n")
    told = conf.refused()
    assert str(conf.folder / name) in told and said in told


def test_a_file_that_is_no_text(conf: Conf) -> None:
    (conf.folder / "profiles" / "local.yaml").write_bytes(b"root: \xff\xfe\n")
    assert "local.yaml cannot be read" in conf.refused()


@pytest.mark.parametrize(
    ("root", "meant"),
    [
        ("/a/b/", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("file:///a/b", "/a/b"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket//p/q//", "s3://bucket/p/q"),
    ],
)
def test_forms_of_a_root(conf: Conf, root: str, meant: str) -> None:
    settings = conf.load(root)
    assert (settings.root, settings.is_s3) == (meant, meant.startswith("s3://"))


def test_a_root_is_absolute_and_knows_home(conf: Conf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert conf.load("lake").root == str(tmp_path / "lake")
    assert conf.load("~/lake").root == "/home/somebody/lake"


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("", "the root is empty"),
        ("  ", "the root is empty"),
        ("s3://", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("ftp://x/y", "use a folder or s3://bucket/prefix"),
        ("hdfs://x", "use a folder or s3://bucket/prefix"),
        ("file://host/x", "use a folder or s3://bucket/prefix"),
    ],
)
def test_roots_that_are_none(conf: Conf, root: str, said: str) -> None:
    assert said in conf.refused(root=root)


def test_settings_do_not_change(conf: Conf) -> None:
    settings = conf.load()
    for value, name in ((settings, "root"), (settings.s3, "region"), (settings.limits, "memory_bytes")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(value, name, "other")


def test_no_secret_is_shown(conf: Conf) -> None:
    settings = conf.load("s3://b", environ={"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": SECRET})
    assert settings.s3.secret == SECRET
    tables = Tables(settings.root, settings.storage_options())
    shown = [repr(settings), str(settings), settings.model_dump_json(), repr(settings.s3), repr(tables), str(tables)]
    shown.append(json.dumps(settings.model_dump(mode="json")))
    assert not [text for text in shown if SECRET in text]


def test_folders_of_settings_and_cache(conf: Conf, tmp_path: Path) -> None:
    conf.write("lake.yaml", "workers: 7\n")
    assert load_settings(environ={"LAKE_CONF": str(conf.folder)}).workers == 7
    with pytest.raises(SettingsError, match=r"no folder of settings at .*nowhere"):
        load_settings(environ={"LAKE_CONF": str(tmp_path / "nowhere")})
    assert cache_dir({"LAKE_CACHE": "/c"}) == Path("/c")
    assert cache_dir({"XDG_CACHE_HOME": "/x"}) == Path("/x/perception-lake")
    assert cache_dir({"HOME": "/h"}) == Path("/h/.cache/perception-lake")


@pytest.mark.parametrize("profile", ["local", "minio", "cluster"])
def test_the_profiles_of_the_project_are_valid(profile: str) -> None:
    settings = load_settings(profile=profile, environ={})
    assert settings.profile == profile
    assert settings.is_s3 == (profile != "local")
