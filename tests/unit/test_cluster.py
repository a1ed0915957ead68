"""What goes to a cluster and what is heard from it: the zip of the code, packages, answers, lines."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyspark import cloudpickle

from jobs.driver import progress_line
from lake.cluster import packing, survey
from lake.cluster.agreement import Answer, compare, merged
from lake.cluster.code import code_files, code_hash, code_zip, write_zip, zip_name
from lake.cluster.facts import LOOKS, MISSING, facts
from lake.cluster.following import Followed, exit_status, follow
from lake.cluster.packing import conf_archive, environment_archive, pack_environment
from lake.cluster.submission import Submission
from lake.cluster.survey import by_value
from lake.errors import UsageError, is_interrupt
from lake.settings import load_settings
from tests.support.lakes import ROOT

DRIVER = {"code": "1a2b", "python": "3.11.7"}


def answer(name: str, least_s: float = -0.1, most_s: float = 0.1, **facts: str) -> Answer:
    return Answer(name, DRIVER | facts, least_s, most_s)


def test_the_zip_has_the_code_and_its_hash(tmp_path: Path) -> None:
    files = code_files()
    assert {"lake/session.py", "jobs/driver.py", "connectors/base.py", "lake/jvm/jars.lock"} <= set(files)
    assert not [name for name in files if "__pycache__" in name]
    path = code_zip(tmp_path / "code", make=False)
    assert not path.parent.exists()
    assert path == code_zip(tmp_path / "code")
    assert path.name == f"perception-lake-{code_hash(files)[:16]}.zip"
    with zipfile.ZipFile(path) as zipped:
        assert {name: zipped.read(name) for name in zipped.namelist()} == files
    assert code_zip(tmp_path / "code") == path
    assert [each.name for each in (tmp_path / "code").iterdir()] == [path.name]


def test_a_process_that_has_the_zip_has_the_same_hash(tmp_path: Path) -> None:
    path = code_zip(tmp_path)
    said = "import lake.cluster.code as c; print(c.__file__); print(c.code_hash(c.code_files()))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", said],
        env={**os.environ, "PYTHONPATH": str(path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    place, found = done.stdout.split()
    assert place.startswith(str(path))
    assert found == code_hash(code_files())


def test_other_code_is_another_zip(tmp_path: Path) -> None:
    files = {"lake/a.py": b"1", "lake/b.py": b"2"}
    names = {zip_name(files), zip_name(files | {"lake/a.py": b"3"}), zip_name({"lake/a.py": b"1"})}
    names |= {zip_name({"lake/c.py": b"1", "lake/b.py": b"2"})}
    assert len(names) == 4
    write_zip(tmp_path / "one.zip", files)
    write_zip(tmp_path / "two.zip", dict(reversed(files.items())))
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_packages_are_packed_without_what_executors_have(tmp_path: Path) -> None:
    prefix = tmp_path / "venv"
    packages = prefix / "lib" / "python3.11" / "site-packages"
    kept = ["own.py", "pyspark/sql/a.py", "jars/kept.jar", "own/share/page.html", "own/include/a.txt"]
    for name in (*kept, "__pycache__/own.pyc", "pyspark/jars/big.jar"):
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text(name)
    for name in ("share/man/own.1", "include/own.h"):
        (prefix / name).parent.mkdir(parents=True)
        (prefix / name).write_text(name)
    (prefix / "bin").mkdir()
    (prefix / "bin" / "python").symlink_to("/usr/bin/python3")
    pack_environment(prefix, tmp_path / "env.tar.gz")
    with tarfile.open(tmp_path / "env.tar.gz") as archive:
        files = {member.name for member in archive if not member.isdir()}
        assert archive.getmember("bin/python").linkname == "/usr/bin/python3"
    below = "lib/python3.11/site-packages/"
    assert files == {"bin/python", *(below + name for name in kept)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["env.tar.gz", "venv"]


def test_an_archive_is_made_once_or_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    named = environment_archive("packed", tmp_path / "cache", str(tmp_path / "venv"), "/usr", make=False)
    assert not named.parent.exists()
    made = environment_archive("packed", tmp_path / "cache", str(tmp_path / "venv"), "/usr")
    assert made == named
    before = made.stat().st_mtime_ns
    assert environment_archive("packed", tmp_path / "cache", str(tmp_path / "venv"), "/usr") == made
    assert made.stat().st_mtime_ns == before
    monkeypatch.setattr(packing, "LEFT_OUT_ON_TOP", ())
    packed_otherwise = environment_archive("packed", tmp_path / "cache", str(tmp_path / "venv"), "/usr", make=False)
    assert packed_otherwise != made
    assert environment_archive(str(made), tmp_path) == made
    with pytest.raises(UsageError, match="no such archive"):
        environment_archive(str(tmp_path / "gone.tar.gz"), tmp_path)
    with pytest.raises(UsageError, match="no virtual environment"):
        environment_archive("packed", tmp_path, "/usr", "/usr")


def test_settings_travel_as_they_are(tmp_path: Path) -> None:
    path = conf_archive(ROOT / "conf", tmp_path)
    with zipfile.ZipFile(path) as zipped:
        assert zipped.read("profiles/local.yaml") == (ROOT / "conf" / "profiles" / "local.yaml").read_bytes()
        assert {"lake.yaml", "themes/site_watch.yaml", "devices/cameras.yaml"} <= set(zipped.namelist())


def test_facts_of_this_process_are_all_there() -> None:
    found = facts()
    assert set(found) == {*LOOKS, "model of speech"}
    assert not [value for value in found.values() if value.startswith(MISSING) or "\n" in value]
    assert found["code"] == code_hash(code_files())[:16]
    assert found["python"] == sys.version.split()[0]


def test_a_fact_that_cannot_be_had_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert facts()["opencv"].startswith(f"{MISSING}ModuleNotFoundError")


def test_an_executor_without_the_lake_can_still_answer(tmp_path: Path) -> None:
    """Its Python has pyspark alone, as the functions travel by value."""
    for module in ("pyspark", "py4j"):
        found = importlib.util.find_spec(module)
        assert found is not None and found.origin is not None
        (tmp_path / module).symlink_to(Path(found.origin).parent)
    with by_value():
        (tmp_path / "pickled").write_bytes(cloudpickle.dumps(facts))
    program = "import json, pickle; print(json.dumps(pickle.load(open('pickled', 'rb'))()))"
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert answers["python"] == sys.version.split()[0]
    lacking = {name for name, value in answers.items() if value.startswith(MISSING)}
    assert lacking == {"code", "pyarrow", "opencv", "ffmpeg", "models"}


def test_equal_executors_are_all_right() -> None:
    checks = compare(DRIVER, [answer("a:1"), answer("b:2")], alive=2, wanted=2)
    assert [check.name for check in checks] == [
        *("cluster executors", "cluster code", "cluster python", "cluster clock")
    ]
    assert all(check.ok for check in checks)


def test_each_difference_is_named_with_who_has_it() -> None:
    answers = [answer("a:1", code="ffff"), answer("b:2"), answer("c:3", code="ffff"), answer("d:4", python="3.12.1")]
    checks = {check.name: check for check in compare(DRIVER, answers, alive=4, wanted=None)}
    wrong = {name: check.detail for name, check in checks.items() if not check.ok}
    assert set(wrong) == {"cluster code", "cluster python"}
    assert wrong["cluster code"].startswith("a:1, c:3: ffff; driver: 1a2b; ")
    assert wrong["cluster python"].startswith("d:4: 3.12.1; driver: 3.11.7; ")


def test_what_only_one_side_has_is_a_difference() -> None:
    other = Answer("a:1", {"code": "1a2b", "model of faces": "99"}, 0, 0)
    wrong = {check.name: check.detail for check in compare(DRIVER, [other], alive=1, wanted=None) if not check.ok}
    assert set(wrong) == {"cluster python", "cluster model of faces"}
    assert f"a:1: {MISSING}" in wrong["cluster python"]


def test_an_interrupt_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spark's clean-up raises its own error on the way."""

    def interrupted(*_: object, **__: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise ConnectionError("the JVM is gone") from error

    monkeypatch.setattr(survey, "build_session", interrupted)
    settings = load_settings(environ={})
    settings = settings.model_copy(update={"spark": settings.spark.model_copy(update={"master": "spark://h:7077"})})
    with pytest.raises(ConnectionError) as raised:
        survey.examine_cluster(settings)
    assert is_interrupt(raised.value)


def test_what_nobody_has_is_wrong_too() -> None:
    lacking = f"{MISSING}ModuleNotFoundError: No module named 'cv2'"
    checks = compare(DRIVER | {"opencv": lacking}, [answer("a:1", opencv=lacking)], alive=1, wanted=None)
    assert [check.name for check in checks if not check.ok] == ["cluster opencv"]


@pytest.mark.parametrize(
    ("names", "alive", "wanted", "ok"),
    [("ab", 2, None, True), ("ab", 2, 2, True), ("a", 2, None, False), ("ab", 2, 3, False), ("", 0, None, False)],
)
def test_executors_that_were_not_asked_are_a_finding(names: str, alive: int, wanted: int | None, ok: bool) -> None:
    checks = compare(DRIVER, [answer(name) for name in names], alive, wanted)
    assert checks[0].name == "cluster executors"
    assert checks[0].ok is ok


@pytest.mark.parametrize(
    ("least_s", "most_s", "said"),
    [
        (-0.2, 0.3, None),
        (-9.0, 9.0, None),  # the answer took long: nothing is certain
        (1.9, 2.5, None),
        (2.1, 2.5, "at least 2.1 s ahead"),
        (-3700.5, -3600.0, "at least 3,600.0 s behind"),
    ],
)
def test_a_clock_is_wrong_where_that_is_certain(least_s: float, most_s: float, said: str | None) -> None:
    clock = compare(DRIVER, [answer("a:1"), answer("b:2", least_s, most_s)], alive=2, wanted=None)[-1]
    assert clock.name == "cluster clock"
    assert clock.ok is (said is None)
    assert said is None or f"b:2: {said}" in clock.detail


def test_answers_of_several_rounds_narrow_the_clock() -> None:
    (one, two) = merged([answer("b:2", -9, 1), answer("a:1"), answer("b:2", -1, 9, code="new")])
    assert (one.executor, two.executor) == ("a:1", "b:2")
    assert (two.least_offset_s, two.most_offset_s, two.facts["code"]) == (-1, 1, "new")


@pytest.mark.parametrize(
    ("line", "application_id"),
    [
        ("lake: application app-20261127022357-0000 on spark://h:7077\n", "app-20261127022357-0000"),
        (
            "26/11/27 10:00:00 INFO YarnClientImpl: Submitted application application_1764_0003\n",
            "application_1764_0003",
        ),
        ("Waiting for application x with application ID spark-12ab and submission ID l:p to finish...", "spark-12ab"),
        ("a script says: application app-1 on fire\n", None),
    ],
)
def test_the_application_is_heard(line: str, application_id: str | None) -> None:
    followed = Followed()
    followed.hear(line)
    followed.hear("lake: application app-2 on spark://h:7077")
    assert followed.application_id == (application_id or "app-2")


def test_the_drivers_container_tells_the_exit_status() -> None:
    followed = Followed()
    for name, code in (("proxy", 143), ("spark-kubernetes-driver", 5)):
        followed.hear(f"\t container name: {name}\n")
        followed.hear(f"\t exit code: {code}\n")
    assert exit_status(0, followed.driver_exit) == 5
    assert exit_status(1, followed.driver_exit) == 1
    assert exit_status(-9, None) == 137


def pod(phase: str, **containers: int | None) -> str:
    """What Spark's Kubernetes client logs of a driver's pod: its containers with their exit codes."""
    lines = ["26/11/27 10:00:00 INFO LoggingPodStatusWatcherImpl: State changed, new state: ", f"\t phase: {phase}"]
    for name, code in containers.items():
        lines += [f"\t\t container name: {name.replace('_', '-')}", "\t\t container image: lake:1"]
        lines += [f"\t\t exit code: {code}"] if code is not None else ["\t\t container state: running"]
    return "\n".join([*lines, f"26/11/27 10:00:00 INFO X: Application status for spark-1a (phase: {phase})", ""])


def ended(said: str, *, ends_in_pod: bool) -> tuple[int | None, list[str]]:
    """How a submission ends that says this on stderr and returns 0, and what the lake says itself."""
    told: list[str] = []
    program = "import sys; sys.stderr.write(sys.argv[1])"
    followed = follow(Submission([sys.executable, "-c", program, said], {}, ends_in_pod=ends_in_pod), told.append)
    return followed.exit_status, [line for line in told if line.startswith("lake: ")]


@pytest.mark.parametrize(
    ("said", "status", "told"),
    [
        (pod("Running", spark_kubernetes_driver=None) + pod("Succeeded", spark_kubernetes_driver=0), 0, None),
        (pod("Failed", spark_kubernetes_driver=5, proxy=0), 5, None),
        (pod("Succeeded"), 0, None),
        (pod("Pending") + pod("Failed"), 1, "Failed"),  # rejected before a container ran
        (pod("Running", proxy=0, spark_kubernetes_driver=None), 1, "Running"),  # and then it was deleted
        (pod("Running", proxy=0, own_driver=None), 1, "Running"),
        ("26/11/27 10:00:00 WARN Utils: all that this log tells\n", 1, "not told"),
    ],
)
def test_a_driver_in_a_pod_ended_well_only_where_that_is_told(said: str, status: int, told: str | None) -> None:
    found, lines = ended(said, ends_in_pod=True)
    assert found == status
    words = [f"lake: Spark told no end of the driver (last state of its pod: {told})\n"] if told else []
    assert lines == words


def test_a_line_of_a_job_here_is_no_exit_status() -> None:
    assert ended("exit code: 3\n phase: Failed\n", ends_in_pod=False) == (0, [])


@pytest.mark.parametrize(("returned", "ends_in_pod", "status"), [(4, False, 4), (0, True, 1)])
def test_a_job_ends_as_it_does_also_when_nobody_listens(returned: int, ends_in_pod: bool, status: int) -> None:
    """It writes more than its pipe holds; one that is not emptied is ended by its alarm."""
    job = (
        "import signal, sys; signal.alarm(60); sys.stderr.write('said\\n' * 100_000); sys.stderr.flush(); sys.exit({})"
    )
    program = (
        "import sys\n"
        "from jobs.submit import _tell\n"
        "from lake.cluster.following import follow\n"
        "from lake.cluster.submission import Submission\n"
        f"made = Submission([sys.executable, '-c', {job.format(returned)!r}], {{}}, ends_in_pod={ends_in_pod})\n"
        "status = follow(made, _tell).exit_status\n"
        "print(status)\n"
        "sys.exit(status)"
    )
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as stderr:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=stderr, text=True, check=False, timeout=200
        )
    assert (done.stdout, done.returncode) == (f"{status}\n", status)


def test_what_is_followed_is_passed_on_and_ends_as_it_does(tmp_path: Path) -> None:
    """With a program in place of ``spark-submit``: data on one side, words on the other, keys by the environment."""
    program = "import os, sys; print(os.environ['KEY']); print('said', file=sys.stderr); sys.exit(int(os.environ['N']))"
    told: list[str] = []
    made = Submission([sys.executable, "-c", program], {"N": "4"}, {"KEY": "hidden"})
    followed = follow(made, told.append, stdout=subprocess.PIPE)
    assert (followed.exit_status, followed.output, told) == (4, "hidden\n", ["said\n"])


def test_progress_in_words() -> None:
    stage = SimpleNamespace(
        stageId=3, name="toArrow", numTasks=1200, numActiveTasks=4, numCompletedTasks=30, numFailedTasks=0
    )
    assert progress_line(stage) == "stage 3 (toArrow): 30 of 1,200 tasks, 4 running"
    stage.numFailedTasks = 2
    assert progress_line(stage).endswith("4 running, 2 failed")
