"""The client of a model hub: what a repository holds at a commit, and its files, each checked against what the hub says.

Refused      64  no such repository, commit or file; gated or private without the right token
Unavailable  69  the hub does not answer, asks for patience, or sent something else than it announced
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Literal

import httpx2
from huggingface_hub import HfApi, get_session, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined] # public by its documentation

from rehearsal.api.messages import OF_THE_DISK, Refused, StageError, Unavailable
from rehearsal.outside.text import shown
from rehearsal.store.checksums import sha256_of
from rehearsal.store.keys import is_key

Kind = Literal["model", "dataset"]
TIMEOUT_SECONDS = 60
LONGEST_LICENSE = 100


@dataclass(frozen=True)
class HubFile:
    """A file of a repository. Large ones have a SHA-256, small ones only git's own digest of a blob."""

    path: str
    size: int
    sha256: str | None
    blob: str | None


@dataclass(frozen=True)
class Repository:
    """A repository at a commit."""

    kind: Kind
    name: str
    commit: str
    license: str
    files: tuple[HubFile, ...]

    def __str__(self) -> str:
        return f"hf://{self.name}@{self.commit}"


class HubClient:
    """Asks the hub at `url`, with the token if there is one."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url, self._token = url, token or False
        self._api = HfApi(endpoint=url, token=self._token)

    def look(self, kind: Kind, name: str, revision: str | None) -> Repository:
        """Return the repository at that commit, or at its newest."""
        with self._errors_told(f"hf://{name}{f'@{revision}' if revision else ''}", name):
            ask = self._api.model_info if kind == "model" else self._api.dataset_info
            info = ask(name, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS)
        if revision and info.sha != revision:
            raise Refused(f"hf://{name}@{revision}: the hub answers with commit {info.sha}; name that one", "HubMissing")
        files = tuple(
            HubFile(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else None, file.blob_id)
            for file in info.siblings or ()
            if is_key(file.rfilename)
        )
        license_ = info.card_data.get("license") if info.card_data else None
        return Repository(kind, name, str(info.sha), shown(str(license_ or "not stated"), LONGEST_LICENSE), files)

    def download(self, repository: Repository, file: HubFile, into: Path) -> Path:
        """Bring one file to its path in a folder, checked."""
        with self._errors_told(f"{repository}: {file.path}", repository.name):
            path = Path(
                hf_hub_download(
                    repository.name,
                    file.path,
                    repo_type=repository.kind,
                    revision=repository.commit,
                    local_dir=into,
                    endpoint=self._url,
                    token=self._token,
                    etag_timeout=TIMEOUT_SECONDS,
                )
            )
        if not _is_whole(path, file):
            path.unlink()
            raise Unavailable(f"{repository}: {file.path} is not what the hub announced; it is tried again", "HubDamaged")
        return path

    def start(self, repository: Repository, file: HubFile, size: int) -> bytes:
        """Return a file's first `size` bytes, or all that there are. No digest covers them."""
        url = hf_hub_url(repository.name, file.path, repo_type=repository.kind, revision=repository.commit, endpoint=self._url)
        headers = {**build_hf_headers(token=self._token), "Range": f"bytes=0-{size - 1}"}
        data = bytearray()
        with (
            self._errors_told(f"{repository}: {file.path}", repository.name),
            get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT_SECONDS) as answer,
        ):
            hf_raise_for_status(answer)
            for part in answer.iter_bytes():  # the whole file, from a server that knows no ranges: no more of it is read
                data += part
                if len(data) >= size:
                    break
        return bytes(data[:size])

    @contextmanager
    def _errors_told(self, what: str, name: str) -> Iterator[None]:
        """What the library raises, as the end of a stage. Its own words may hold signed addresses, and are not passed on."""
        try:
            yield
        except (HFValidationError, HfHubHTTPError, httpx2.HTTPError, EntryNotFoundError, OSError) as error:
            if isinstance(error, OSError) and error.errno in OF_THE_DISK:
                raise
            raise self._told(error, what, name) from None

    def _told(self, error: BaseException, what: str, name: str) -> StageError:
        cause = error if isinstance(error, HfHubHTTPError) else error.__cause__
        status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
        if isinstance(cause, GatedRepoError) or status == HTTPStatus.FORBIDDEN:
            return Refused(
                f"{what}: is gated: accept its licence at {self._url}/{name} with the account whose HF_TOKEN the Secret of the "
                "platform's hub holds",
                "Gated",
            )
        if isinstance(cause, RevisionNotFoundError):
            return Refused(f"{what}: there is no such commit; name one of {self._url}/{name}", "HubMissing")
        if isinstance(cause, RepositoryNotFoundError) or status == HTTPStatus.UNAUTHORIZED:
            return Refused(
                f"{what}: there is no such repository, or it is private and the HF_TOKEN of the platform's hub may not read it",
                "HubMissing",
            )
        if status == HTTPStatus.NOT_FOUND or isinstance(error, HFValidationError):
            return Refused(f"{what}: the hub at {self._url} has no such thing; correct the address", "HubMissing")
        said = f"HTTP {status}" if status else type(cause or error).__name__
        return Unavailable(f"{what}: the hub at {self._url} did not give it ({said})", "HubUnavailable")


def _is_whole(path: Path, file: HubFile) -> bool:
    if file.sha256:
        return sha256_of(path) == file.sha256
    if file.blob is None:
        return True
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == file.blob
