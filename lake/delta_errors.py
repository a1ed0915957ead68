"""The seam to delta-rs, and to Arrow where it reads what delta-rs names: what their errors become."""

from __future__ import annotations

import re

from lake.errors import CommitConflict, LakeError, NotFound, StoreError, StoreUnavailable
from lake.refusals import refusal

_PAINT = re.compile("\x1b\\[[0-9;]*m|\u21b3")
"""How delta-rs paints its errors for a terminal."""
_NO_ANSWER = re.compile(r"error sending request|connect|\b50[0-4]\b|slow ?down", re.IGNORECASE)


class delta_errors:
    """Translates delta-rs's errors, here and nowhere else."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, LakeError):
            return
        from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

        said = " ".join(_PAINT.sub("", str(error)).split())[:400]
        refused = refusal(f"table at {self.uri}", error) if isinstance(error, (DeltaError, OSError)) else None
        if refused is not None:
            raise refused from error
        if isinstance(error, TableNotFoundError):
            raise NotFound(f"no table at {self.uri}: run `lake init` first, or check --root") from error
        if isinstance(error, CommitFailedError):
            raise CommitConflict(f"commit to {self.uri} failed: {said}; run the command again") from error
        if isinstance(error, OSError) and _NO_ANSWER.search(said):
            raise StoreUnavailable(f"no answer from the store for {self.uri}: {said}") from error
        if isinstance(error, (DeltaError, OSError)):
            raise StoreError(f"table at {self.uri} cannot be used: {said}") from error


class arrow_errors:
    """Translates what Arrow raises of a bucket, which comes up wherever a table's dataset is read."""

    def __init__(self, root: str) -> None:
        self.root = root

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and "AWS Error" in str(error):
            with delta_errors(self.root):
                raise error
