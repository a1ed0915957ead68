"""The seam to obstore and the operating system: which keys are passed on, and what their errors become."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from lake.errors import AccessDenied, AlreadyExists, LakeError, NotFound, StoreError, StoreUnavailable, UsageError
from lake.refusals import refusal

STAGING = ".staging"
"""Folder below a folder root for files that are not yet objects; on the same filesystem, so that linking is enough."""

_REFUSED_PART = re.compile(r"\.{0,2}|.*[\x00-\x1f\x7f\ud800-\udfff].*|.*#\d+", re.DOTALL)
"""Empty, the folder itself or its parent, control characters, no Unicode, and the names obstore keeps for itself."""
_DENIED_CODES = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
_NO_ANSWER = ("error sending request", "error decoding response body", "timed out", "connection closed")


def checked(key: str) -> str:
    """The key, when every store can hold it and it stays below the root; else ``UsageError``."""
    parts = key.split("/")
    if parts[0] == STAGING or any(_REFUSED_PART.fullmatch(part) for part in parts):
        raise UsageError(f"key {key!r} cannot be used: it leaves the root, or has an empty or reserved part")
    return key


@contextlib.contextmanager
def errors(root: str, key: str = "") -> Iterator[None]:
    """Translates what obstore and the operating system raise, into one line each."""
    from obstore import exceptions as foreign

    place = f"{root.rstrip('/')}/{key}" if key else root
    try:
        yield
    except LakeError:
        raise
    except foreign.AlreadyExistsError as error:
        if "ConditionalRequestConflict" in str(error):
            raise StoreUnavailable(f"{place} is being written by someone else at this moment: try again") from error
        raise AlreadyExists(f"{place} is there already") from error
    except (FileNotFoundError, NotADirectoryError, foreign.NotFoundError) as error:
        raise (_no_bucket(root) if lacks_bucket(error) else NotFound(f"no object {place}")) from error
    except (PermissionError, foreign.PermissionDeniedError, foreign.UnauthenticatedError) as error:
        raise (refusal(place, error) or _denied(place)) from error
    except (foreign.BaseError, OSError) as error:
        raise _translated(root, place, error) from error


def _translated(root: str, place: str, error: Exception) -> StoreError:
    refused = refusal(place, error)
    if refused is not None:
        return refused
    # Names and addresses may hold any word: they are taken out before the text is searched.
    said = " ".join(str(error).split("\n\nDebug source")[0].split()).replace(place, "…")
    words = re.sub(r"https?://\S+", "…", said)
    status = re.search(r"\bstatus code: (\d{3})|\bstatus (\d{3})\b", words)
    number = int(status[1] or status[2]) if status else 0
    if lacks_bucket(error):
        return _no_bucket(root)
    if _code(error) in _DENIED_CODES or number in (401, 403):
        return _denied(place)
    if _code(error) == "InvalidRange" or "Requested range was invalid" in words:
        return StoreError(f"{place} ends before the range that was asked for: the object is cut off")
    if "(os error 20)" in words:
        return NotFound(f"no object {place}")
    if number >= 500 or any(word in words for word in _NO_ANSWER):
        endpoint = re.search(r"https?://[^/\s?]+", str(error))
        asked = f"the endpoint {endpoint[0]}" if endpoint else "the endpoint"
        if number:
            return StoreUnavailable(f"{asked} answers {number} for {place}: try again later")
        return StoreUnavailable(f"no answer from {asked} of {root}: check AWS_ENDPOINT_URL and that the server runs")
    return StoreError(f"{place}: {words[:300]}")


def lacks_bucket(error: BaseException | None) -> bool:
    """Whether a store said that there is no such bucket."""
    return _code(error) == "NoSuchBucket"


def lacks_upload(error: BaseException | None) -> bool:
    """Whether a store said that there is no such upload in parts: it was ended before, by ourselves or another."""
    return _code(error) == "NoSuchUpload"


def _no_bucket(root: str) -> NotFound:
    return NotFound(f"no bucket for {root}: `lake --root {root} init` creates it, or check its name")


def _denied(place: str) -> AccessDenied:
    return AccessDenied(f"access to {place} is denied: check the keys (AWS_ACCESS_KEY_ID …) or rights")


def _code(error: BaseException | None) -> str | None:
    """The S3 error code of an answer, as its XML names it or obstore quotes it."""
    found = re.search(r"<Code>(\w+)</Code>|\(code: (\w+)\)", str(error))
    return found[1] or found[2] if found else None
