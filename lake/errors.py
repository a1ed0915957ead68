"""Every error the lake raises, in one tree.

    LakeError
    ├── UsageError                what was asked for cannot be done as asked          exit 2
    │   └── SettingsError         a profile, device file or theme is wrong
    ├── StoreError                the object store cannot be used                     exit 1
    │   ├── NotFound              no such key, bucket or recording
    │   ├── AlreadyExists         a put-if-absent met an object
    │   ├── AccessDenied          wrong or missing credentials
    │   ├── StoreUnavailable      no answer from the endpoint              retryable
    │   └── IntegrityError        the bytes read are not the bytes written
    ├── SourceError               a source of recordings cannot be read at all        exit 1
    ├── ModelError                a model is absent, altered or cannot be loaded      exit 1
    ├── RecordError               one recording cannot be used: ends in quarantine, never in an exit status
    │   ├── Unreadable            its bytes cannot be had (gone, changed, no permission)
    │   ├── Damaged               its bytes are there but cannot be decoded
    │   ├── Unsupported           no decoder here reads this type
    │   ├── Protected             it is encrypted and no key is known
    │   ├── LimitExceeded         time, memory or output size over the limit
    │   └── DecoderCrashed        the decoder took its process down
    ├── CommitConflict            another writer was first, again and again    retryable   exit 1
    └── PolicyRefused             the lake refuses, by name                            exit 4

Constructor arguments go to ``super().__init__`` unchanged, otherwise the error cannot be unpickled when Spark
brings it from a worker. Errors of other libraries are translated at the seam that calls them, nowhere else.
"""

from __future__ import annotations

from pathlib import Path


class LakeError(Exception):
    """Base of all errors the lake raises on purpose; its text is one line: what is wrong, where, what to do."""

    retryable = False
    exit_status = 1


class UsageError(LakeError):
    exit_status = 2


class SettingsError(UsageError):
    pass


class StoreError(LakeError):
    pass


class NotFound(StoreError):
    pass


class AlreadyExists(StoreError):
    pass


class AccessDenied(StoreError):
    pass


class StoreUnavailable(StoreError):
    retryable = True


class IntegrityError(StoreError):
    pass


class SourceError(LakeError):
    pass


class ModelError(LakeError):
    pass


class RecordError(LakeError):
    """One recording cannot be used. Caught where recordings are handled and written to ``quarantine``."""


class Unreadable(RecordError):
    pass


class Damaged(RecordError):
    pass


class Unsupported(RecordError):
    pass


class Protected(RecordError):
    pass


class LimitExceeded(RecordError):
    pass


class DecoderCrashed(RecordError):
    pass


class CommitConflict(LakeError):
    retryable = True


class PolicyRefused(LakeError):
    exit_status = 4


RECORD_ERRORS: dict[str, type[RecordError]] = {
    cls.__name__: cls
    for cls in (RecordError, Unreadable, Damaged, Unsupported, Protected, LimitExceeded, DecoderCrashed)
}
"""Record errors by class name: how they cross the process boundary of the decoding child."""


def unwritable_cache(folder: Path, error: OSError) -> LakeError:
    """What to say of a folder below the cache that cannot be written."""
    return LakeError(f"{folder} cannot be written ({error.strerror}): set LAKE_CACHE to a folder that can")


def is_interrupt(error: BaseException | None) -> bool:
    """Whether an error is Ctrl-C or came up while one was handled: Spark's clean-up raises its own errors then."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
