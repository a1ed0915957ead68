"""Stages that ask for a GPU, on workers whose GPUs are only said to be there: what is dealt out, not how fast it is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lake.engine import Engine
from tests.support.analysis_media import encoded, scene, tone, wav
from tests.support.cluster import Cluster
from tests.support.lakes import command, new_lake

pytestmark = [pytest.mark.full, pytest.mark.timeout(240)]

ADDRESSES = ("3", "5")
"""One GPU a worker."""
RECORDINGS = 8
MODULE = '''
"""Which GPUs an analysis sees, one with a model and one without."""
import os

import pyarrow as pa

from lake.analysis.base import Analysis


def seen(media, params):
    yield {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "none")}


FIELDS = pa.schema([pa.field("gpus", pa.string())])
WITH_MODEL = Analysis("with_model", "1", ("audio",), (), FIELDS, seen, models={"voice-activity": "builtin:silero-vad"})
WITHOUT = Analysis("without", "1", ("image",), (), FIELDS, seen)
'''


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    variables = []
    for address in ADDRESSES:
        script = folder / f"gpus-{address}"
        script.write_text(f"""#!/bin/sh\necho '{{"name": "gpu", "addresses": ["{address}"]}}'\n""")
        script.chmod(0o755)
        said = f"-Dspark.worker.resource.gpu.amount=1 -Dspark.worker.resource.gpu.discoveryScript={script}"
        variables.append({"SPARK_WORKER_OPTS": said})
    with Cluster(folder, variables=variables) as started:
        yield started


def test_recordings_that_need_a_model_are_dealt_a_gpu_and_the_others_none(
    cluster: Cluster, tmp_path: Path, local_engine: Engine
) -> None:
    lake = new_lake(str(tmp_path / "lake"), local_engine)
    (tmp_path / "in").mkdir()
    for number in range(RECORDINGS):
        (tmp_path / "in" / f"{number}.wav").write_bytes(wav(tone(1, 200.0 + number, 0.1)))
        (tmp_path / "in" / f"{number}.png").write_bytes(encoded(scene(number), "png"))
    lake.ingest(tmp_path / "in")
    module = tmp_path / "own.py"
    module.write_text(MODULE)
    conf = tmp_path / "conf"
    shutil.copytree(cluster.conf(), conf)
    settings = yaml.safe_load((conf / "lake.yaml").read_text())
    settings["analysis"]["device"] = "auto"
    settings["spark"]["resources"] = {"executors": 2, "cores": 1, "gpus": 1}
    (conf / "lake.yaml").write_text(yaml.safe_dump(settings))

    process = command(lake, "analyze", "--module", str(module), "--json", LAKE_CONF=str(conf))
    out, said = process.communicate(timeout=200)

    assert process.returncode == 0, out + said
    dealt = lake.job.tables.dataset("feature_with_model").to_table().column("gpus").to_pylist()
    assert set(dealt) == set(ADDRESSES)
    assert len(dealt) == RECORDINGS
    assert lake.job.tables.dataset("feature_without").to_table().column("gpus").to_pylist() == ["none"] * RECORDINGS
