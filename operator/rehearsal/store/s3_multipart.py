"""Files too large for one request, sent and fetched in parts, and the SHA-256 of objects however they were sent.

S3 keeps the SHA-256 of an object that came in one piece; of one that came in parts, a checksum of the parts' checksums. So
the file's own SHA-256 is written beside it, as metadata, before its first byte is sent; each part is verified by the server,
and the parts together are the file's bytes, or the upload is never completed.
"""

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rehearsal.store.objects import Denied, NotFound, StoreError
from rehearsal.store.parts import in_lanes, part_size, ranges
from rehearsal.store.s3_connection import Connection, in_base64

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, HeadObjectOutputTypeDef

SHA256 = "rehearsal-sha256"
"""Metadata of an object that was sent in parts."""


def known_sha256(head: "HeadObjectOutputTypeDef") -> str | None:
    """Return an object's SHA-256 in hex from what the server says of it; None where somebody else sent it without one."""
    checksum = head.get("ChecksumSHA256", "")
    if "-" in checksum:  # of parts; the figure after it is how many
        return head["Metadata"].get(SHA256)
    return base64.b64decode(checksum).hex() or None


def fetch(s3: Connection, key: str, head: "HeadObjectOutputTypeDef") -> Iterator[bytes]:
    """Yield the object's bytes in parts, in order; StoreError if it is replaced meanwhile."""
    sizes = ranges(head["ContentLength"])
    return in_lanes(partial(s3.get_part, key, first, last, head["ETag"]) for first, last in sizes)


def send(s3: Connection, key: str, path: Path, size: int, sha256: str) -> None:
    """Write a file of that size and SHA-256 as the object; StoreError if it is not, or does not stay, that file."""
    begun = s3.ask(
        "s3:PutObject",
        key,
        lambda client: client.create_multipart_upload(
            Bucket=s3.bucket, Key=s3.name(key), ChecksumAlgorithm="SHA256", Metadata={SHA256: sha256}
        ),
    )
    upload = _Upload(s3, key, begun["UploadId"])
    try:
        parts = list(in_lanes(upload.sends(path, size, sha256)))
        upload.complete(parts, size, sha256)
    except BaseException:
        with suppress(StoreError, Denied, NotFound):
            upload.abort()
        raise


@dataclass(frozen=True)
class _Upload:
    """One upload in parts. Nobody sees the object before it is complete."""

    s3: Connection
    key: str
    id: str

    def sends(self, path: Path, size: int, sha256: str) -> Iterator[Callable[[], "CompletedPartTypeDef"]]:
        """Yield what sends each part; at the end of a file with another SHA-256, StoreError."""
        sent = hashlib.sha256()
        with path.open("rb") as file:
            for number, data in enumerate(iter(partial(file.read, part_size(size)), b""), 1):
                sent.update(data)
                yield partial(self._send, number, data)
        if sent.hexdigest() != sha256:
            raise StoreError(f"{path} changed while it was stored as {self.key}")

    def complete(self, parts: Sequence["CompletedPartTypeDef"], size: int, sha256: str) -> None:
        """Make the parts the object."""
        try:
            self.s3.ask(
                "s3:PutObject",
                self.key,
                lambda client: client.complete_multipart_upload(
                    Bucket=self.s3.bucket, Key=self.s3.name(self.key), UploadId=self.id, MultipartUpload={"Parts": parts}
                ),
            )
        except StoreError:
            # An earlier attempt may have taken effect although its answer was lost: then there is no such upload any more.
            if not self._is_there(size, sha256):
                raise

    def abort(self) -> None:
        """Give up the parts."""
        self.s3.ask(
            "s3:AbortMultipartUpload",
            self.key,
            lambda client: client.abort_multipart_upload(Bucket=self.s3.bucket, Key=self.s3.name(self.key), UploadId=self.id),
        )

    def _send(self, number: int, data: bytes) -> "CompletedPartTypeDef":
        sha256 = in_base64(data)
        answer = self.s3.ask(
            "s3:PutObject",
            self.key,
            lambda client: client.upload_part(
                Bucket=self.s3.bucket,
                Key=self.s3.name(self.key),
                UploadId=self.id,
                PartNumber=number,
                Body=data,
                ChecksumSHA256=sha256,
            ),
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": sha256}

    def _is_there(self, size: int, sha256: str) -> bool:
        try:
            head = self.s3.head(self.key)
        except NotFound:
            return False
        return (head["ContentLength"], known_sha256(head)) == (size, sha256)
