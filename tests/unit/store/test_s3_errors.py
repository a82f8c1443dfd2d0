"""Which of S3's answers is whose to mend."""

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from rehearsal.store.objects import Denied, NotFound, StoreError
from rehearsal.store.s3_errors import Conflict, Precondition, meaning


def answered(status: int, code: str, operation: str = "GetObject") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "words"}, "ResponseMetadata": {"HTTPStatusCode": status}}, operation)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (answered(404, "NoSuchKey"), NotFound),
        (answered(404, "404"), NotFound),
        (answered(404, "NoSuchBucket"), Denied),
        (answered(404, "NoSuchUpload"), StoreError),
        (answered(403, "AccessDenied"), Denied),
        (answered(403, "RequestTimeTooSkewed"), StoreError),
        (answered(301, "PermanentRedirect"), Denied),
        (answered(400, "AuthorizationHeaderMalformed"), Denied),
        (answered(400, "ExpiredToken"), StoreError),
        (answered(400, "BadDigest"), StoreError),
        (answered(400, "KeyTooLongError"), Denied),
        (answered(409, "ConditionalRequestConflict"), Conflict),
        (answered(412, "PreconditionFailed"), Precondition),
        (answered(429, "TooManyRequests"), StoreError),
        (answered(500, "InternalError"), StoreError),
        (answered(501, "NotImplemented"), Denied),
        (answered(503, "SlowDown"), StoreError),
        (answered(507, "InsufficientStorage"), StoreError),
        (NoCredentialsError(), Denied),
        (EndpointConnectionError(endpoint_url="https://somewhere"), StoreError),
    ],
)
def test_an_error_means(error, kind):
    assert type(meaning(error, "s3:GetObject", "artifacts", "a/b")) is kind


def test_only_the_code_of_an_error_is_repeated_and_only_if_it_is_one():
    for code in ("words of a server", "x" * 100, "", "<script>"):
        text = str(meaning(answered(403, code), "s3:GetObject", "artifacts", "a/b"))
        assert "(403)" in text
        assert "words" not in text


def test_a_role_that_may_not_be_assumed_is_named_by_its_action():
    text = str(meaning(answered(403, "AccessDenied", "AssumeRoleWithWebIdentity"), "s3:GetObject", "artifacts", "a/b"))
    assert "refuses sts:AssumeRoleWithWebIdentity in bucket artifacts" in text
