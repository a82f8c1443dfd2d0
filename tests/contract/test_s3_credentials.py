"""Credentials of the S3 adapter: found by boto3's default chain, renewed in mid-run, and never told to anybody."""

import json
import logging
import threading
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rehearsal.api.messages import StageError
from rehearsal.store.objects import Denied, NotFound, StoreError
from rehearsal.store.s3 import S3Store
from rehearsal.store.s3_connection import Patience
from tests.contract.s3_faults import CANARY, answer_lost, cut_off, expired, refusal
from tests.contract.s3_server import User

QUICK = Patience(2, 60, 60, pauses=(0,))
CREDENTIALS = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "CONTAINER_CREDENTIALS_FULL_URI", "PROFILE")


@pytest.fixture(autouse=True)
def nobody(monkeypatch):
    """Nothing of this machine's own is found."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    for name in CREDENTIALS:
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name, value in User("", "").environment.items():
        if value:
            monkeypatch.setenv(name, value)


@dataclass
class Issuer:
    """A pod's identity service: gives out the credentials of whoever it is told to, good for so long."""

    url: str = ""
    user: User | None = None
    good_for: timedelta = timedelta(minutes=5)
    asked: list[str] = field(default_factory=list)


@contextmanager
def issuer():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            it.asked.append(it.user.access)
            until = (datetime.now(UTC) + it.good_for).strftime("%Y-%m-%dT%H:%M:%SZ")
            keys = {"AccessKeyId": it.user.access, "SecretAccessKey": it.user.secret, "Token": "", "Expiration": until}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(keys).encode())

        def log_message(self, *_):
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    it = Issuer(f"http://127.0.0.1:{listener.server_port}/credentials")
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield it
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


@pytest.fixture
def identity(monkeypatch):
    with issuer() as it:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", it.url)
        yield it


@pytest.mark.fault(37)
def test_credentials_that_are_about_to_expire_are_renewed_in_mid_run(s3, proxy, identity):
    bucket, first, second = s3.new_bucket(), s3.new_user("admin"), s3.new_user("admin")
    store = S3Store(bucket, endpoint=proxy.endpoint, patience=QUICK)
    identity.user = first
    store.put("a", b"bytes")
    identity.user = second
    proxy.where(lambda call: call.signed_by(first), expired)
    assert store.get("a") == b"bytes"
    assert store.create("b", b"")
    assert list(store.list("")) == ["a", "b"]
    assert proxy.calls[0].signed_by(first)
    assert all(call.signed_by(second) for call in proxy.calls[1:]), "renewed before the server had to say so"


@pytest.mark.fault(37)
def test_credentials_that_the_server_calls_expired_before_their_time_are_found_anew(s3, proxy, identity):
    bucket, first, second = s3.new_bucket(), s3.new_user("admin"), s3.new_user("admin")
    store = S3Store(bucket, endpoint=proxy.endpoint, patience=QUICK)
    identity.user, identity.good_for = first, timedelta(hours=6)
    store.put("a", b"bytes")
    identity.user = second
    proxy.where(lambda call: call.signed_by(first), expired)
    assert store.stat("a").size == 5
    assert store.get("a") == b"bytes"
    assert identity.asked == [first.access, second.access]


@pytest.mark.fault(37)
def test_credentials_that_nobody_renews_are_unavailable_so_that_another_pod_tries(s3, proxy, monkeypatch):
    for name, value in s3.root.environment.items():
        monkeypatch.setenv(name, value)
    proxy.where(lambda _call: True, expired)
    store = S3Store(s3.new_bucket(), endpoint=proxy.endpoint, patience=QUICK)
    for ask in (lambda: store.get("a"), lambda: store.stat("a"), store.prepare):
        with pytest.raises(StoreError, match=r"ExpiredToken|400"):
            ask()


@pytest.mark.fault(38)
def test_missing_and_wrong_credentials_are_denied(s3, monkeypatch):
    store = S3Store(s3.new_bucket(), endpoint=s3.endpoint, patience=QUICK)
    with pytest.raises(Denied, match=r"NoCredentialsError.*service account"):
        store.get("a")
    for user in (User(s3.root.access, "wrong"), User("unknown", "wrong")):
        for name, value in user.environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(Denied, match=r"s3:PutObject in bucket .*(SignatureDoesNotMatch|InvalidAccessKeyId)"):
            S3Store(s3.new_bucket(), endpoint=s3.endpoint, patience=QUICK).put("a", b"")


def test_no_error_or_log_line_holds_what_is_secret(s3, proxy, monkeypatch, tmp_path, caplog, capfd):
    caplog.set_level(logging.INFO)
    user = s3.new_user("user")
    for name, value in user.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "local").write_bytes(b"")
    told = []

    def tell(store: S3Store) -> None:
        for ask in (
            lambda: store.get("a"),
            lambda: store.put("a", b""),
            lambda: store.create("a", b""),
            lambda: store.upload("a", tmp_path / "local"),
            lambda: store.download("a", tmp_path / "x"),
            lambda: store.stat("a"),
            lambda: list(store.list("")),
            store.prepare,
        ):
            with pytest.raises((StageError, NotFound)) as caught:
                ask()
            told.append("".join(traceback.format_exception(caught.value)))

    bucket = s3.new_bucket()
    words = ("AccessDenied", "InvalidAccessKeyId", "NoSuchBucket", CANARY)
    for rule in (
        *(refusal(status, word) for status in (400, 403, 404, 500) for word in words),
        answer_lost,
        cut_off,
    ):
        proxy.where(lambda _call: True, rule)
        tell(S3Store(bucket, endpoint=proxy.endpoint, patience=QUICK))
    tell(S3Store(bucket, endpoint="http://127.0.0.1:9", patience=QUICK))
    process = tmp_path / "process"
    process.write_text(f"#!/bin/sh\necho {CANARY} >&2\necho {CANARY}\nexit 1\n")
    process.chmod(0o700)
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {process}\n")
    for name in CREDENTIALS:
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    tell(S3Store(bucket, endpoint=proxy.endpoint, patience=QUICK))
    assert "CredentialRetrievalError" in told[-1]
    told += [caplog.text, *capfd.readouterr()]
    for secret in (user.access, user.secret, CANARY):
        assert not [text for text in told if secret in text]
