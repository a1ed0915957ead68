"""What a store means by the error codes that a user can do something about, whichever client brings them."""

from __future__ import annotations

import re

from lake.errors import AccessDenied, StoreError

_FULL = "the store is full: free space or add drives there"
_QUOTA = "the quota of the bucket is used up: raise it, or free space"
_CLOCK = "the clock here and that of the store are too far apart: set both by NTP"
_EXPIRED = "the credentials have expired: get new ones"

REFUSALS: dict[str, tuple[type[StoreError], str]] = {
    "XMinioStorageFull": (StoreError, _FULL),
    "InsufficientStorage": (StoreError, _FULL),
    "XMinioAdminBucketQuotaExceeded": (StoreError, _QUOTA),
    "QuotaExceeded": (StoreError, _QUOTA),
    "RequestTimeTooSkewed": (AccessDenied, _CLOCK),
    "REQUEST_TIME_TOO_SKEWED": (AccessDenied, _CLOCK),
    "ExpiredToken": (AccessDenied, _EXPIRED),
    "ExpiredTokenException": (AccessDenied, _EXPIRED),
}
"""Codes of AWS, MinIO and Ceph; one in capitals is how Arrow calls it."""

_SAID = re.compile(r"(?:<Code>|\(code: |ExceptionName: |AWS Error )(\w+)")
"""Where a client quotes the code: names of objects may hold any word."""


def refusal(place: str, error: object) -> StoreError | None:
    """The error in the lake's own words; None when its code is none of these."""
    for code in _SAID.findall(str(error)):
        if code in REFUSALS:
            kind, said = REFUSALS[code]
            return kind(f"{place}: {said}, then run the command again ({code})")
    return None
