"""Analyses of a user's own file (``lake analyze --module my_analysis.py``), which need not be installed anywhere.

The driver reads the file, and its text goes with the tasks to the decoding children, where alone it runs: executors
need not have it, and a file that is changed meanwhile changes nothing of a run.
"""

from __future__ import annotations

import hashlib
import re
import sys
import threading
import types
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lake.analysis.base import Analysis
from lake.errors import UsageError
from lake.model import Media, Row

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_ONE_AT_A_TIME = threading.Lock()
"""Of an analysis: it is part of a table's name."""


@dataclass(frozen=True)
class UserModule:
    """A Python file of a user's."""

    path: str
    """Where it was read, for messages."""
    source: str

    @property
    def name(self) -> str:
        """What it is called among the modules of a process: another text is another module."""
        return f"lake_user_{hashlib.sha256(self.source.encode()).hexdigest()[:16]}"

    def to_plain(self) -> dict[str, str]:
        """As values that msgpack knows."""
        return asdict(self)


def read_module(path: str) -> UserModule:
    """Read a user's file. Runs on the driver."""
    try:
        return UserModule(path, Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as Python: {error}") from error


def analyses_of(module: UserModule) -> dict[str, Analysis]:
    """The analyses that a user's file defines, by name. Runs its code, once a process.

    Raises:
        UsageError: it cannot be run, defines no analysis, or one by a name that no table can have.
    """
    with _ONE_AT_A_TIME:  # analyses of one recording run in threads
        loaded = sys.modules.get(module.name) or _loaded(module)
    found = {value.name: value for value in vars(loaded).values() if isinstance(value, Analysis)}
    if not found:
        raise UsageError(
            f"{module.path} defines no analysis: it needs a variable that is a lake.analysis.base.Analysis"
        )
    for name in found:
        if not NAME.fullmatch(name):
            raise UsageError(f"{module.path}: {name!r} is no name of an analysis: use small letters, digits and _")
    return found


def _loaded(module: UserModule) -> types.ModuleType:
    loaded = types.ModuleType(module.name)
    loaded.__file__ = module.path
    sys.modules[module.name] = loaded
    try:
        exec(compile(module.source, module.path, "exec"), vars(loaded))  # noqa: S102  (the user's own code, asked for)
    except BaseException as error:
        del sys.modules[module.name]
        if not isinstance(error, Exception):
            raise
        line = getattr(error, "lineno", None) or _line(error, module.path)
        raise UsageError(f"{module.path}, line {line}: {type(error).__name__}: {error}") from error
    return loaded


def _line(error: BaseException, path: str) -> int:
    """The last line of the user's file that an error came from."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == path else line
        trace = trace.tb_next
    return line


def chosen(
    shipped: Mapping[str, Analysis], modules: Iterable[UserModule], names: Iterable[str]
) -> tuple[dict[str, Analysis], dict[str, UserModule]]:
    """The analyses that were asked for, and the files of those that are a user's.

    Without names: those of the user's files, else all that are shipped.

    Raises:
        UsageError: a name that nobody has, or two have.
    """
    own: dict[str, Analysis] = {}
    files: dict[str, UserModule] = {}
    for module in modules:
        for name, analysis in analyses_of(module).items():
            if name in shipped or name in own:
                raise UsageError(f"{module.path}: there is an analysis {name!r} already: call it something else")
            own[name], files[name] = analysis, module
    known = {**shipped, **own}
    wanted = list(names) or list(own or shipped)
    for name in wanted:
        if name not in known:
            raise UsageError(f"no analysis {name!r}: known are {', '.join(known)}")
    return {name: known[name] for name in wanted}, {name: files[name] for name in wanted if name in files}


def travelling(analysis: Analysis) -> Analysis:
    """A user's analysis without its functions, which executors could not unpickle and do not call."""
    return replace(analysis, run=_in_the_child, accepts=None, model_hash=None)


def _in_the_child(media: Media, params: Mapping[str, Any]) -> Iterable[Row]:
    raise AssertionError("an analysis of a user's file runs in the decoding child alone")
