"""What Spark says about a library's SQL, in the lake's own errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from lake.errors import CommitConflict, LakeError, SettingsError

CONFLICT = re.compile(r"\b(Concurrent\w+|MetadataChanged|ProtocolChanged)Exception")
"""Delta's errors for a writer that another one was faster than; two that both create a table change its protocol."""


@contextmanager
def spark_errors(what: str) -> Iterator[None]:
    """Translates what Spark says into one line, here and nowhere else in the libraries."""
    from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
    from pyspark.errors import AnalysisException, ParseException, PySparkException

    try:
        yield
    except (AnalysisException, ParseException) as error:
        raise SettingsError(f"{what}: Spark: {_first_line(error)}") from error
    except (PySparkException, Py4JJavaError) as error:
        if CONFLICT.search(str(error)):
            raise CommitConflict(f"{what}: another build writes it at the same time; build again") from error
        raise LakeError(f"{what}: Spark: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    java = getattr(error, "java_exception", None)
    lines = str(java.getMessage() if java is not None else error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]
