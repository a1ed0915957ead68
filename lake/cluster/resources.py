"""What a job asks of a cluster, and how each kind of cluster is told."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Manager = Literal["local", "standalone", "yarn", "kubernetes"]

OVERHEAD_MIB_PER_CORE = 1024
"""Python, the decoding child and its models beside the JVM, for each task at once: Spark's own tenth is too little."""


class Resources(BaseModel):
    """How many executors, and how large each is; null leaves it to the cluster."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    executors: int | None = None
    cores: int | None = None
    """Cores of an executor: the tasks it runs at once."""
    memory: str | None = None
    """Memory of an executor's JVM, ``1g``: bytes of recordings do not pass through it, so little is enough."""
    overhead_mib: int | None = None
    """Memory beside the JVM, on YARN and Kubernetes; null: 1,024 MiB a core."""
    gpus: int = Field(default=0, ge=0)
    """GPUs of an executor. Tasks with models ask for one where ``analysis.device`` is ``cuda`` or ``auto``."""
    tasks_per_gpu: int = Field(default=1, ge=1)
    """Tasks that share one GPU: each has the models for itself."""
    gpu_discovery: str | None = None
    """Script on every node that tells Spark its GPUs, on YARN and Kubernetes; a standalone worker has one of its own.
    """

    @property
    def slots(self) -> int | None:
        """Tasks that run at once, when both factors are known."""
        return self.executors * self.cores if self.executors and self.cores else None

    @property
    def gpu_slots(self) -> int:
        """Tasks that run at once where each has a GPU or its share of one; of one executor where their number is not
        known."""
        each = self.gpus * self.tasks_per_gpu
        return (self.executors or 1) * (min(each, self.cores) if self.cores else each)


def manager_of(master: str) -> Manager:
    """Which kind of cluster a master's address names."""
    if master.startswith("local"):
        return "local"
    if master.startswith("k8s://"):
        return "kubernetes"
    return "yarn" if master == "yarn" else "standalone"


def resource_conf(manager: Manager, asked: Resources) -> dict[str, str]:
    """Spark's settings for what is asked of this kind of cluster. A local master has one size: the machine's."""
    if manager == "local":
        return {}
    conf: dict[str, int | str | None] = {"spark.executor.cores": asked.cores, "spark.executor.memory": asked.memory}
    if manager == "standalone":
        # A standalone master takes no number of executors: it fills the cores that an application may have.
        conf["spark.cores.max"] = asked.slots
    else:
        conf["spark.executor.instances"] = asked.executors
        overhead = asked.overhead_mib or (asked.cores or 1) * OVERHEAD_MIB_PER_CORE
        conf["spark.executor.memoryOverhead"] = f"{overhead}m"
    if asked.gpus:
        conf["spark.executor.resource.gpu.amount"] = asked.gpus
        conf["spark.executor.resource.gpu.discoveryScript"] = asked.gpu_discovery
        conf["spark.executor.resource.gpu.vendor"] = "nvidia.com" if manager == "kubernetes" else None
    return {key: str(value) for key, value in conf.items() if value is not None}
