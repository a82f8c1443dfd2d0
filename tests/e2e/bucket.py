"""The store of the runs: an S3 server in a namespace of its own, and the bucket in it as this machine reaches it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from tests.e2e.cluster import Cluster, Manifest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NAMESPACE, SERVICE, PORT, BUCKET, SECRET = "rehearsal-e2e-s3", "s3", 7070, "rehearsal", "s3"
ENDPOINT = f"http://{SERVICE}.{NAMESPACE}:{PORT}"
REGION = "us-east-1"


@dataclass(frozen=True)
class Bucket:
    """The bucket on the cluster. Who holds `user` may do everything with it."""

    cluster: Cluster
    user: Manifest

    def secret(self, namespace: str) -> Manifest:
        """Return the credentials as the Secret that the platform's values name."""
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET, "namespace": namespace}, "stringData": self.user}

    @contextmanager
    def reached(self) -> Iterator["S3Client"]:
        """Lend a client, through a port that kubectl forwards for as long."""
        forward = self.cluster.start("port-forward", f"--namespace={NAMESPACE}", f"service/{SERVICE}", f":{PORT}")
        try:
            assert forward.stdout
            first = forward.stdout.readline()
            assert first.startswith("Forwarding from 127.0.0.1:"), first + forward.stdout.read()
            yield self._client(f"http://127.0.0.1:{first.split()[2].rpartition(':')[2]}")
        finally:
            forward.terminate()
            forward.wait()

    def upload(self, folder: Path, prefix: str) -> None:
        """Bring a folder's files to the bucket, checksums included."""
        with self.reached() as s3:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                key = f"{prefix}/{path.relative_to(folder).as_posix()}"
                s3.upload_file(str(path), BUCKET, key, ExtraArgs={"ChecksumAlgorithm": "SHA256"})

    def keys(self, prefix: str) -> list[str]:
        """Return the keys below a prefix."""
        with self.reached() as s3:
            return sorted(written_at(s3, prefix))

    def download(self, prefix: str, folder: Path) -> None:
        """Bring everything below a prefix to a folder, under its keys."""
        with self.reached() as s3:
            for key in written_at(s3, prefix):
                path = folder / key
                path.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(BUCKET, key, str(path))

    def _client(self, url: str) -> "S3Client":
        session = boto3.session.Session(self.user["AWS_ACCESS_KEY_ID"], self.user["AWS_SECRET_ACCESS_KEY"])
        config = Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "total_max_attempts": 10}, proxies={})
        return session.client("s3", endpoint_url=url, region_name=REGION, config=config)


def credentials(access: str, secret: str) -> Manifest:
    """Return credentials under the names that boto3's default chain looks for."""
    return {"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}


def written_at(s3: "S3Client", prefix: str) -> dict[str, str]:
    """Return key -> ETag and time of writing, of every object below a prefix."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return {each["Key"]: f"{each['ETag']} {each['LastModified']:%FT%T}" for page in pages for each in page.get("Contents", ())}


def server(image: str) -> list[Manifest]:
    """Return the server's Deployment and Service. Its objects go with its pod; nothing of it is a host's."""
    labels = {"app.kubernetes.io/name": SERVICE}
    metadata = {"name": SERVICE, "namespace": NAMESPACE, "labels": labels}
    container: Manifest = {
        "name": SERVICE,
        "image": image,
        "args": ["--port", f":{PORT}", "--quiet", "posix", "/data"],
        "env": [_from_secret("ROOT_ACCESS_KEY", "AWS_ACCESS_KEY_ID"), _from_secret("ROOT_SECRET_KEY", "AWS_SECRET_ACCESS_KEY")],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    pod: Manifest = {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "data", "emptyDir": {"sizeLimit": "10Gi"}}],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }
    ports = [{"port": PORT, "targetPort": PORT}]
    # A store does not go with a kubelet: on a node that is not heard of no pod counts as ready, though it answers.
    spec = {"selector": labels, "ports": ports, "publishNotReadyAddresses": True}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
    return [deployment, service]


def _from_secret(variable: str, key: str) -> dict[str, Any]:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": SECRET, "key": key}}}
