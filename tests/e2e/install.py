"""What an administrator does before the first run: namespaces, credentials, the store's server, the chart."""

import secrets
from collections.abc import Iterable
from pathlib import Path

from tests.chart.helm import CHART, Manifest, helm
from tests.e2e import bucket
from tests.e2e.bucket import BUCKET, Bucket
from tests.e2e.cluster import Cluster
from tests.e2e.images import Images
from tests.e2e.runs import NAMESPACE, merged

RELEASE, SYSTEM, BARE = "rehearsal-e2e", "rehearsal-e2e-system", "rehearsal-e2e-bare"
"""The release and its namespace, which nobody else uses; and a namespace for runs that lacks the store's Secret."""
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
VALUES = (CHART / "cpu-values.yaml", Path(__file__).with_name("values.yaml"))
"""Files of values: a cluster of CPUs, and what is ours on it."""


class Installed:
    """A release of the chart, and the namespace that its operator's pod is in."""

    def __init__(self, cluster: Cluster, images: Images, name: str = RELEASE, namespace: str = SYSTEM) -> None:
        self.cluster, self.name, self.namespace, self._images = cluster, name, namespace, images

    def apply(self, values: Manifest, *options: str) -> None:
        """Install or upgrade it with these values on top of the files' and the images', and wait until its operator is up."""
        namespace(self.cluster, self.namespace)
        files = [f"--values={file}" for file in VALUES]
        values = merged(self._images.values(), values)
        self._helm("upgrade", self.name, str(CHART), "--install", *files, *options, values=values)
        rollout(self.cluster, self.name, self.namespace)

    def operator(self) -> Manifest:
        """Return the operator's pod."""
        (pod,) = self.cluster.list("pods", self.namespace, f"app.kubernetes.io/instance={self.name}")
        return pod

    def visits(self) -> float:
        """Return how often the operator has looked at a run, by its own metrics."""
        pod = self.operator()["metadata"]["name"]
        page = self.cluster.kubectl("get", "--raw", f"/api/v1/namespaces/{self.namespace}/pods/{pod}:8080/proxy/metrics")
        return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith("rehearsal_reconciles_total"))

    def memory(self) -> str:
        """Return the most memory that the operator's process has held, as its kernel tells."""
        said = self.cluster.exec(self.namespace, f"deployment/{self.name}", "operator", "cat", "/proc/1/status")
        return next(line.partition(":")[2].strip() for line in said.splitlines() if line.startswith("VmHWM"))

    def _helm(self, verb: str, *arguments: str, values: Manifest | None = None) -> None:
        helm(verb, *arguments, f"--namespace={self.namespace}", f"--kubeconfig={self.cluster.kubeconfig}", values=values)


def namespace(cluster: Cluster, name: str) -> None:
    """Make a namespace in which only restricted pods may be."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}})


def rollout(cluster: Cluster, deployment: str, namespace: str) -> None:
    """Wait until a Deployment's pod is up, and it alone."""
    cluster.kubectl("rollout", "status", f"deployment/{deployment}", f"--namespace={namespace}", "--timeout=280s")


def store(cluster: Cluster, images: Images) -> Bucket:
    """Start the S3 server, make the bucket in it, and give its credentials to the workers of the runs' namespace."""
    for name in (bucket.NAMESPACE, NAMESPACE, BARE):
        namespace(cluster, name)
    made = Bucket(cluster, bucket.credentials(secrets.token_hex(8), secrets.token_hex(16)))
    cluster.apply(made.secret(bucket.NAMESPACE), made.secret(NAMESPACE), *bucket.server(images.name("e2e-s3")))
    rollout(cluster, bucket.SERVICE, bucket.NAMESPACE)
    with made.reached() as s3:
        s3.create_bucket(Bucket=BUCKET)
    return made


def remove(cluster: Cluster, namespaces: Iterable[str]) -> None:
    """Delete namespaces with all that is in them."""
    cluster.kubectl("delete", "namespace", *namespaces, "--ignore-not-found", "--timeout=600s", timeout=660)
