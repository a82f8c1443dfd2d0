"""Requests to one S3 bucket: one client, made when it is first needed, its patience, and what its answers mean.

boto3's default chain finds the credentials and renews them before they expire.
"""

import base64
import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeVar

import boto3.session
from botocore.config import Config
from botocore.exceptions import ClientError, FlexibleChecksumError

from rehearsal.store.objects import Denied, StoreError
from rehearsal.store.s3_errors import EXPIRED, FAILURES, INTERRUPTIONS, BrokenOff, code_of, meaning

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectRequestTypeDef, HeadObjectOutputTypeDef

Result = TypeVar("Result")


@dataclass(frozen=True)
class Patience:
    """What one request endures: botocore's standard back-off between attempts, two minutes in all at most, and time limits."""

    attempts: int = 10
    connect_seconds: float = 5
    read_seconds: float = 30
    pauses: tuple[float, ...] = (0.5, 2.0, 8.0)
    """Seconds before each further try of what botocore does not repeat, such as an answer that broke off."""


PATIENT = Patience()


@dataclass
class Connection:
    """A bucket, by the server and the credentials that reach it. Threads share it; a process that is forked must not."""

    bucket: str
    prefix: str
    endpoint: str | None
    region: str | None
    patience: Patience

    def ask(self, action: str, key: str, call: "Callable[[S3Client], Result]") -> Result:
        """Return the answer to a request, or raise what it means. Credentials that the server calls expired are found anew."""
        try:
            try:
                return call(self._client)
            except ClientError as error:
                if code_of(error) not in EXPIRED:
                    raise
            self.__dict__.pop("_client", None)
            return call(self._client)
        except FAILURES as error:
            # Not `from error`: its text may hold what a credential process printed.
            raise meaning(error, action, self.bucket, key) from None

    def head(self, key: str) -> "HeadObjectOutputTypeDef":
        """Return what the server says of an object, checksums included, or raise NotFound."""
        return self.ask(
            "s3:GetObject", key, lambda s3: s3.head_object(Bucket=self.bucket, Key=self.name(key), ChecksumMode="ENABLED")
        )

    def get(self, key: str) -> bytes:
        """Return an object's bytes, or raise NotFound."""
        plain: GetObjectRequestTypeDef = {"Bucket": self.bucket, "Key": self.name(key)}
        try:
            return self._read(key, {**plain, "ChecksumMode": "ENABLED"})
        except FlexibleChecksumError:
            # Damaged on the way, or in the bucket: read again as it is. Who has the digest from a seal can name the shard.
            return self._read(key, plain)

    def get_part(self, key: str, first: int, last: int, etag: str) -> bytes:
        """Return those bytes, counted from 0, of an object that still has that ETag; else NotFound or Precondition."""
        part = f"bytes={first}-{last}"
        data = self._read(key, {"Bucket": self.bucket, "Key": self.name(key), "Range": part, "IfMatch": etag})
        if len(data) != last - first + 1:
            raise StoreError(f"s3:GetObject of {key} in bucket {self.bucket}: {len(data)} bytes for {part}")
        return data

    def put(self, key: str, data: bytes) -> None:
        """Write an object; the server refuses bytes that are not those of the checksum."""
        self.ask(
            "s3:PutObject",
            key,
            lambda s3: s3.put_object(Bucket=self.bucket, Key=self.name(key), Body=data, ChecksumSHA256=in_base64(data)),
        )

    def put_if_absent(self, key: str, data: bytes, metadata: Mapping[str, str]) -> None:
        """Write an object if the key is free, else raise Precondition; or Conflict, while another request decides that."""
        self.ask(
            "s3:PutObject",
            key,
            lambda s3: s3.put_object(
                Bucket=self.bucket,
                Key=self.name(key),
                Body=data,
                ChecksumSHA256=in_base64(data),
                IfNoneMatch="*",
                Metadata=metadata,
            ),
        )

    def repeatedly(self, passing: type[StoreError], call: Callable[[], Result]) -> Result:
        """Return what the call returns, made again after each pause as long as it raises what may pass."""
        for pause in self.patience.pauses:
            with suppress(passing):
                return call()
            time.sleep(pause)
        return call()

    def name(self, key: str) -> str:
        """Return how the bucket calls that key of the store."""
        return f"{self.prefix}{key}"

    def _read(self, key: str, request: "GetObjectRequestTypeDef") -> bytes:
        return self.repeatedly(BrokenOff, lambda: self._read_once(key, request))

    def _read_once(self, key: str, request: "GetObjectRequestTypeDef") -> bytes:
        answer = self.ask("s3:GetObject", key, lambda s3: s3.get_object(**request))
        try:
            return answer["Body"].read()
        except INTERRUPTIONS as error:
            raise BrokenOff(f"s3:GetObject of {key} in bucket {self.bucket} broke off ({type(error).__name__})") from None

    @cached_property
    def _client(self) -> "S3Client":
        addressing: Literal["path", "auto"] = "path" if self.endpoint else "auto"
        config = Config(
            retries={"mode": "standard", "total_max_attempts": self.patience.attempts},
            connect_timeout=self.patience.connect_seconds,
            read_timeout=self.patience.read_seconds,
            s3={"addressing_style": addressing},
            # Requests bring their own SHA-256; and part of an object would be compared with the checksum of the whole.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            return boto3.session.Session().client("s3", endpoint_url=self.endpoint, region_name=self.region, config=config)
        except ValueError:
            raise Denied(f"bucket {self.bucket}: the store's endpoint or region is not one; correct it") from None


def in_base64(data: bytes) -> str:
    """Return the SHA-256 of these bytes as S3 writes it."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()
