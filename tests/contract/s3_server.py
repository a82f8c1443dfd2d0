"""A real S3 server over a temporary folder, and clients of it. moto's is not atomic, so it can say nothing of races."""

import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import boto3
from botocore.config import Config

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
READY_SECONDS = 120
NOWHERE = "/dev/null"


@dataclass(frozen=True)
class User:
    """Who may sign requests."""

    access: str
    secret: str

    @property
    def environment(self) -> dict[str, str]:
        """What makes boto3's default chain find this user and nobody else."""
        return {
            "AWS_ACCESS_KEY_ID": self.access,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_CONFIG_FILE": NOWHERE,
            "AWS_SHARED_CREDENTIALS_FILE": NOWHERE,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@dataclass(frozen=True)
class S3Server:
    """A running server. Objects are files below `folder`, one folder a bucket, which a test may damage."""

    address: tuple[str, int]
    folder: Path
    root: User

    @property
    def endpoint(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    def client(self):
        """A plain client of the root user's, in no test's way."""
        return boto3.session.Session(self.root.access, self.root.secret).client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1", config=Config(s3={"addressing_style": "path"})
        )

    def new_bucket(self) -> str:
        bucket = f"bucket-{secrets.token_hex(8)}"
        self.client().create_bucket(Bucket=bucket)
        return bucket

    def new_user(self, role: str) -> User:
        """An `admin` may use every bucket, a `user` none of those here."""
        user = User(f"access{secrets.token_hex(8)}", f"canary{secrets.token_hex(16)}")
        as_root = ["--access", self.root.access, "--secret", self.root.secret, "--endpoint-url", self.endpoint]
        new = ["create-user", "--access", user.access, "--secret", user.secret, "--role", role]
        subprocess.run([program(), "admin", *as_root, *new], check=True, capture_output=True, timeout=240)
        return user


@cache
def program() -> str:
    """Path of the server's program, built if it was not yet."""
    build = [ROOT / "scripts/build-tool.sh", "tests/tools/s3server"]
    return subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Lend a running server whose data lie below the folder."""
    objects, users = folder / "objects", folder / "users"
    objects.mkdir()
    users.mkdir()
    server = S3Server(("127.0.0.1", free_port()), objects, User("root", secrets.token_hex(16)))
    options = ["--port", "{}:{}".format(*server.address), "--iam-dir", users, "--iam-cache-disable", "--keep-alive", "--quiet"]
    environment = {"ROOT_ACCESS_KEY": server.root.access, "ROOT_SECRET_KEY": server.root.secret}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program(), *options, "posix", objects], env=environment, stdout=log, stderr=log)
    try:
        wait_until_ready(server, process, folder / "log")
        yield server
    finally:
        process.kill()
        process.wait()


def wait_until_ready(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(server.address, timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        else:
            return
