"""Commits by delta-rs that are neither lost nor made twice: whose answer is lost, and who takes files away.

Runs wherever a table is written: on the driver.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lake.delta_errors import delta_errors
from lake.errors import CommitConflict

if TYPE_CHECKING:
    from deltalake import DeltaTable, Transaction

COMMIT_RETRIES = 100
MARKS = 1024
"""A table remembers the newest commit of each mark for good, so they are few."""
MARK_ATTEMPTS = 3
"""Writers at once that draw the same mark refuse each other: then they draw again."""


def known_again(
    uri: str, reopen: Callable[[], DeltaTable], write: Callable[[Transaction], None], attempts: int = MARK_ATTEMPTS
) -> bool:
    """Have a commit made under a mark; True when the answer to it was lost and the mark told that it is our own.

    Without an answer the client asks again and is refused by its own commit. delta-rs takes that for somebody else's
    and commits the same files once more: a stream over the table would read them twice.

    Raises:
        CommitConflict: it is somebody else's, and what both want does not go together.
    """
    from deltalake import Transaction

    for attempt in range(attempts):
        mark = (f"lake-commit-{random.randrange(MARKS)}", random.getrandbits(62))  # noqa: S311  (no secret)
        try:
            with delta_errors(uri):
                write(Transaction(*mark))
            return False
        except CommitConflict:
            if reopen().transaction_version(mark[0]) == mark[1]:
                return True
            if attempt == attempts - 1:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def commit_files(
    uri: str, reopen: Callable[[], DeltaTable], table: DeltaTable, actions: Sequence[Any], facts: Mapping[str, Any]
) -> None:
    """Commit files written and files taken away, as changes of the version that ``table`` was opened at.

    Whether the files are still there is looked at here: delta-rs lets a commit that takes files away pass over a merge
    that took the same ones, and the rows are there twice (deltalake 1.6.6).

    Raises:
        CommitConflict: another commit took one of those files away.
    """
    from deltalake.transaction import RemoveAction

    taken = {action.path for action in actions if isinstance(action, RemoveAction)}
    for attempt in range(COMMIT_RETRIES):
        with delta_errors(uri):
            there = set(table.get_add_actions(flatten=True)["path"].to_pylist()) if taken else set()
        if not taken <= there:
            raise CommitConflict(f"files of {uri} are gone; run the command again")
        try:
            known_again(uri, reopen, functools.partial(_once, table, actions, facts), attempts=1)
            return
        except CommitConflict:
            newer = reopen()
            if newer.version() == table.version() or attempt == COMMIT_RETRIES - 1:
                raise
            table = newer


def _once(table: DeltaTable, actions: Sequence[Any], facts: Mapping[str, Any], mark: Transaction) -> None:
    """Commit without another try: who is refused looks first at what was committed meanwhile."""
    from deltalake import CommitProperties

    properties = CommitProperties(custom_metadata=dict(facts), max_commit_retries=0, app_transactions=[mark])
    table.create_write_transaction(list(actions), mode="append", schema=table.schema(), commit_properties=properties)
