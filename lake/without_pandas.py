"""pyarrow without pandas, which it imports when it first looks at a Python value: 0.3 s that no verb needs."""

from __future__ import annotations

import sys

import pyarrow as pa


class _NoPandas:
    """A finder that has no pandas."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def keep_pandas_out() -> None:
    """Have pyarrow look for pandas now, and find none; it looks again when it is asked for a DataFrame.

    For the beginning of a process, before a value is made or another module looks for pandas as it is imported.
    """
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.scalar(0)
    finally:
        sys.meta_path.remove(finder)
