"""What S3's answers mean to a store. Of a library's or server's own words only the error's code gets into a message.

Not covered: a server that lies about its state, such as one that says 403 while it is being repaired.
"""

import re

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)

from rehearsal.store.objects import Denied, NotFound, StoreError

FAILURES = (BotoCoreError, ClientError)
INTERRUPTIONS = (HTTPClientError, IncompleteReadError)
"""What reading an answer's body raises when it does not end."""
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "400"})
"""Codes of credentials past their time. An answer to HEAD has no body, so there is no more of its code than the 400."""

_PASSING_STATUS = (408, 425, 429)
_PASSING = EXPIRED | {
    "BadDigest",
    "IDPCommunicationError",
    "IncompleteBody",
    "InvalidRange",
    "InvalidIdentityToken",
    "NoSuchUpload",
    "RequestTimeTooSkewed",
    "RequestTimeout",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
}
_NOT_IMPLEMENTED = 501
_MISCONFIGURED = (NoCredentialsError, PartialCredentialsError, ProfileNotFound, ParamValidationError)
_REMEDIES = {
    "NoSuchBucket": "create the bucket, or correct its name in the platform's stores",
    "AccessDenied": "grant it to the credentials of the run's pods; without s3:ListBucket S3 also refuses to say what is absent",
    "InvalidAccessKeyId": "the credentials are of another account or were deleted; correct them",
    "SignatureDoesNotMatch": "the credentials are wrong; correct them",
    "PermanentRedirect": "correct the store's region or endpoint",
    "AuthorizationHeaderMalformed": "correct the store's region",
    "NotImplemented": "use a server that creates if absent (If-None-Match) and keeps SHA-256 checksums",
}
_REMEDIES |= {"403": _REMEDIES["AccessDenied"], "301": _REMEDIES["PermanentRedirect"], "501": _REMEDIES["NotImplemented"]}


class Precondition(StoreError):
    """The object is there, or is not there any more as it was: If-None-Match or If-Match did not hold."""


class Conflict(StoreError):
    """Another request for the same key was under way; whether it will take effect is not known yet."""


class BrokenOff(StoreError):
    """The answer began and did not end."""


def code_of(error: ClientError) -> str:
    """Return S3's code of an error; a server that fills it with something else gets its HTTP status instead."""
    code = error.response.get("Error", {}).get("Code", "")
    return code if re.fullmatch("[A-Za-z0-9]{1,64}", code) else str(_status_of(error))


def meaning(error: Exception, action: str, bucket: str, key: str) -> Exception:
    """Return what to raise for one of FAILURES: NotFound, Denied or StoreError."""
    if isinstance(error, ClientError):
        return _answered(error, action, bucket, key)
    if isinstance(error, _MISCONFIGURED):
        return Denied(
            f"cannot {action} in bucket {bucket} ({type(error).__name__}): the run's pods need a service account with a role, "
            "or the store a Secret with credentials; a bucket's name must be a valid one"
        )
    return _failed(type(error).__name__, action, bucket)


def _answered(error: ClientError, action: str, bucket: str, key: str) -> Exception:
    code, status = code_of(error), _status_of(error)
    if code in ("NoSuchKey", "NotFound", "404"):
        return NotFound(key)
    if kind := {409: Conflict, 412: Precondition}.get(status):
        return kind(f"{action} of {key} in bucket {bucket} met another writer ({code})")
    if code in _PASSING or status in _PASSING_STATUS or (status >= 500 and status != _NOT_IMPLEMENTED):
        return _failed(code, action, bucket)
    if error.operation_name.startswith("Assume"):
        action = f"sts:{error.operation_name}"
    remedy = _REMEDIES.get(code, "correct the platform's store, or the rights in the bucket")
    return Denied(f"the store refuses {action} in bucket {bucket} ({code}): {remedy}")


def _status_of(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _failed(what: str, action: str, bucket: str) -> StoreError:
    return StoreError(f"{action} in bucket {bucket} failed ({what}), also when tried again; see whether the store is up")
