"""What processes are told about their memory: what a user says wins, what YARN leaves empty does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lake.memory import ENVIRON, OF_DECODING, decoding_environ, keep_flat


@pytest.mark.parametrize("said", ["", "lots"])
def test_a_variable_of_malloc_that_is_no_number_ends_nothing(said: str) -> None:
    program = "import os\nfrom lake.memory import keep_flat\nkeep_flat()\nprint(os.environ['MALLOC_ARENA_MAX'])"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"MALLOC_ARENA_MAX": said}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, said or ENVIRON["MALLOC_ARENA_MAX"]), done.stderr


def test_a_decoding_child_has_thresholds_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRON:
        monkeypatch.delenv(name, raising=False)
    keep_flat()
    assert decoding_environ() == OF_DECODING
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "4096")
    assert decoding_environ() == {"MALLOC_TRIM_THRESHOLD_": OF_DECODING["MALLOC_TRIM_THRESHOLD_"]}
