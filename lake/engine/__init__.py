"""Where tasks run: in processes of this machine, or on Spark. One seam, the same functions, the same tables."""

from lake.engine.base import Engine, TaskFunction, TaskOutput
from lake.engine.local import LocalEngine
from lake.engine.spark import SparkEngine

__all__ = ["Engine", "LocalEngine", "SparkEngine", "TaskFunction", "TaskOutput"]
