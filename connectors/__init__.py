"""Sources of recordings: adding one is one file and one line here."""

from __future__ import annotations

from typing import Any

from connectors.base import Connector, Options
from connectors.bucket import Bucket
from connectors.folder import Folder
from connectors.simulated import Simulated
from lake.errors import UsageError

CONNECTORS: dict[str, type[Connector]] = {connector.name: connector for connector in (Folder, Bucket, Simulated)}


def connect(source: str, **options: Any) -> Connector:
    """The connector for a folder path or a URI; ``options`` are the fields of ``Options``.

    >>> connect("/data/cam-01").source
    'file:///data/cam-01'
    """
    scheme, separator, _ = source.partition("://")
    if not separator:
        scheme = Folder.name
    if scheme not in CONNECTORS:
        known = ", ".join(f"{name}://" for name in CONNECTORS)
        raise UsageError(f"Source {source!r} has no connector: use a folder's path, or one of {known}.")
    return CONNECTORS[scheme].from_uri(source, Options(**options))
