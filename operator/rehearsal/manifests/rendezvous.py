"""How the pods of a training Job on several nodes find each other: a headless Service a run, and the address of the first pod."""

import hashlib
from collections.abc import Mapping
from typing import Any

SELECTED = ("rehearsal.dev/run-uid", "rehearsal.dev/stage")
"""The labels by which the Service knows its pods."""
PORT = 29500
"""Where the first pod's torchrun awaits the others. Ranks then talk on ports of the moment."""


def service_name(run_uid: str) -> str:
    """Return the name of a run's Service: a DNS label that begins with a letter, as names of Services must."""
    return f"rehearsal-{hashlib.sha256(run_uid.encode()).hexdigest()[:16]}"


def first_pod(job: str, service: str) -> dict[str, str]:
    """Return the environment that leads every pod of a Job to its first one; torchrun knows these names."""
    return {"MASTER_ADDR": f"{job}-0.{service}", "MASTER_PORT": str(PORT)}


def build_service(job: Mapping[str, Any]) -> dict[str, object]:
    """Return the Service that gives the pods of this Job, and of the run's later ones of the same stage, their host names.

    It is the run's, like the Job. A pod is known by its name before it is ready: none is, until all have found each other.
    """
    metadata = job["metadata"]
    labels = metadata["labels"]
    told = ("app.kubernetes.io/managed-by", "app.kubernetes.io/version", "rehearsal.dev/run", *SELECTED)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": job["spec"]["template"]["spec"]["subdomain"],
            "namespace": metadata["namespace"],
            "labels": {name: labels[name] for name in told},
            "ownerReferences": metadata["ownerReferences"],
        },
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {name: labels[name] for name in SELECTED},
            "ports": [{"name": "rendezvous", "port": PORT}],
        },
    }
