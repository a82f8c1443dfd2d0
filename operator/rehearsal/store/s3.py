"""An S3 bucket as the object store. Every write carries its SHA-256, which the server compares with what it received.

Not covered: parts of an upload whose writer was killed stay in the bucket, unseen and paid for. Give it a lifecycle rule
(AbortIncompleteMultipartUpload).
"""

import hashlib
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rehearsal.store.checksums import accounted, sha256_of
from rehearsal.store.keys import is_key
from rehearsal.store.objects import Denied, NotFound, Stat, StoreError
from rehearsal.store.parts import part_size
from rehearsal.store.s3_connection import PATIENT, Connection, Patience
from rehearsal.store.s3_errors import Conflict, Precondition
from rehearsal.store.s3_multipart import fetch, known_sha256, send

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef, ListObjectsV2OutputTypeDef, ListObjectsV2RequestTypeDef

CHECKSUMS = ".checksums"
CREATION = "rehearsal-creation"
"""Metadata: which call created the object."""


class S3Store:
    """The objects of a bucket below a prefix. An endpoint is for servers other than Amazon's, which are addressed by path."""

    def __init__(
        self, bucket: str, prefix: str = "", endpoint: str | None = None, region: str | None = None, patience: Patience = PATIENT
    ) -> None:
        below = f"{prefix.strip('/')}/".lstrip("/")
        self._s3 = Connection(bucket, below, endpoint, region, patience)

    def get(self, key: str) -> bytes:
        """Return an object's bytes, or raise NotFound."""
        return self._s3.get(_checked(key))

    def start(self, key: str, size: int) -> bytes:
        """Return an object's first `size` bytes, or all that there are, or raise NotFound."""
        head = self._s3.head(_checked(key))
        last = min(size, head["ContentLength"]) - 1
        return self._s3.get_part(key, 0, last, head["ETag"]) if last >= 0 else b""

    def create(self, key: str, data: bytes) -> bool:
        """Create the object if the key is free and return whether this call did; exactly one of many racers does."""
        token = secrets.token_hex(16)
        return self._s3.repeatedly(Conflict, partial(self._create, _checked(key), data, token))

    def put(self, key: str, data: bytes) -> None:
        """Write the object, whatever was there."""
        self._s3.put(_checked(key), data)

    def upload(self, key: str, path: Path) -> str:
        """Write a file's bytes as the object and return their SHA-256 in hex, compared with what the store says it has."""
        size = path.stat().st_size
        if size <= part_size(size):
            data = path.read_bytes()
            size, sha256 = len(data), hashlib.sha256(data).hexdigest()
            self._s3.put(_checked(key), data)
        else:
            sha256 = sha256_of(path)
            send(self._s3, _checked(key), path, size, sha256)
        if self.stat(key) != Stat(key, size, sha256):
            raise StoreError(f"the store did not keep {key} as it was sent")
        return sha256

    def download(self, key: str, path: Path) -> str:
        """Bring an object to a local file, or raise NotFound; return the SHA-256 of its bytes.

        The file has its name only when it is whole.
        """
        head = self._s3.head(_checked(key))
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{secrets.token_hex(16)}")
        digest = hashlib.sha256()
        try:
            with unfinished.open("xb") as file:
                file.writelines(accounted(fetch(self._s3, key, head), digest))
            unfinished.replace(path)
            return digest.hexdigest()
        finally:
            unfinished.unlink(missing_ok=True)

    def stat(self, key: str) -> Stat:
        """Return size and checksum, or raise NotFound. What somebody else uploaded is read for it, once."""
        head = self._s3.head(_checked(key))
        return Stat(key, head["ContentLength"], known_sha256(head) or self._remembered(key, head))

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the keys that start with the prefix, sorted: S3 sorts by UTF-8, which is the order of the characters."""
        if parent := prefix.rpartition("/")[0]:
            _checked(parent)
        request: ListObjectsV2RequestTypeDef = {"Bucket": self._s3.bucket, "Prefix": self._s3.name(prefix)}
        while True:
            page = self._page(request)
            names = (entry["Key"].removeprefix(self._s3.prefix) for entry in page.get("Contents", ()))
            yield from (name for name in names if _is_public(name))
            if not page["IsTruncated"]:
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def prepare(self) -> None:
        """Prove that the bucket is there and may be listed; else Denied or StoreError."""
        self._page({"Bucket": self._s3.bucket, "Prefix": self._s3.name(""), "MaxKeys": 1})

    def _create(self, key: str, data: bytes, token: str) -> bool:
        try:
            self._s3.put_if_absent(key, data, {CREATION: token})
        except Precondition:
            # Perhaps by an earlier attempt of this very call, whose answer was lost: then the object has our token.
            with suppress(NotFound):
                return self._s3.head(key)["Metadata"].get(CREATION) == token
            return False
        return True

    def _page(self, request: "ListObjectsV2RequestTypeDef") -> "ListObjectsV2OutputTypeDef":
        return self._s3.ask("s3:ListBucket", request.get("Prefix", ""), lambda client: client.list_objects_v2(**request))

    def _remembered(self, key: str, head: "HeadObjectOutputTypeDef") -> str:
        """Return the SHA-256 of an object whose server does not know it: computed, and kept in an object of its own."""
        version = f"{key}\n{head['ETag']}\n{head['ContentLength']}\n{head['LastModified'].timestamp()}"
        entry = f"{CHECKSUMS}/{hashlib.sha256(version.encode()).hexdigest()}"
        with suppress(NotFound):
            if re.fullmatch(b"[0-9a-f]{64}", known := self._s3.get(entry)):
                return known.decode()
        digest = hashlib.sha256()
        for _ in accounted(fetch(self._s3, key, head), digest):
            pass
        with suppress(Denied):
            self._s3.put(entry, digest.hexdigest().encode())
        return digest.hexdigest()


def _is_public(key: str) -> bool:
    """Tell whether it is a key of the store: consoles make others, such as `folder/`."""
    return is_key(key) and key.partition("/")[0] != CHECKSUMS


def _checked(key: str) -> str:
    if not _is_public(key):
        raise Denied(f"{key!r} cannot be a key of the store: use a relative path without empty, `.` or `..` parts")
    return key
