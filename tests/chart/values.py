"""Values that tests install the chart with."""

from tests.chart.helm import Manifest

STORE: Manifest = {"stores": {"default": {"s3": {"bucket": "rehearsal", "secret": "s3"}}}}
EVERYTHING: Manifest = {
    "runNamespaces": ["team-a", "team-b"],
    "image": {"repository": "registry.example/operator", "digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "registry"}],
    "platform": {
        "stores": {
            "default": {"s3": {"bucket": "rehearsal", "region": "eu-central-1"}, "namespaces": ["team-a"]},
            "lab": {
                "s3": {"bucket": "rehearsal", "endpoint": "http://minio.lab:9000", "secret": "s3"},
                "namespaces": ["team-a", "team-b"],
            },
        },
        "endpoints": {"strong": {"url": "https://strong.example:8443/v1", "secret": "strong"}},
        "hub": {"url": "https://hub.example", "secret": "hub-token"},
        "images": {"trainer": f"registry.example/trainer@sha256:{'1' * 64}"},
        "device": {
            "resource": "amd.com/gpu",
            "nodeSelector": {"pool": "gpu"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
        },
        "deadlineSeconds": 1_209_600,
    },
    "workerServiceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/rehearsal"}},
    "logFormat": "text",
    "sweepSeconds": 30,
    "resources": {"limits": {"memory": "1Gi"}},
    "nodeSelector": {"pool": "system"},
    "tolerations": [{"key": "system", "operator": "Exists"}],
    "priorityClassName": "system",
    "metrics": {"serviceMonitor": True},
}
