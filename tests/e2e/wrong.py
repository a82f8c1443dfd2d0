"""Runs that cannot be carried out as things are, what each should say, and how the cause is mended."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.e2e.bucket import Bucket
from tests.e2e.cluster import Cluster, Manifest
from tests.e2e.images import Images
from tests.e2e.install import BARE, Installed, namespace
from tests.e2e.runs import NAMESPACE, Run, merged, quickstart

GPU = "example.com/gpu"
NO_IMAGE = "registry.invalid/rehearsal/inference:none"
ELSEWHERE: Manifest = {"crds": {"install": False}}
GPUS, NO_PULL = "rehearsal-e2e-gpu", "rehearsal-e2e-image"
"""Namespaces with an operator of their own, whose platform is another; so has the one without a Secret."""
ALONE: Manifest = {"evaluation": {"tasks": []}}
"""No evaluation of the base model beside elicitation: the node has room for one engine."""
GONE = {"endpoint": {"name": "gone", "model": "m"}}


@dataclass(frozen=True)
class Wrong:
    """A run that cannot be carried out. `says` are parts of the condition's message; `mend` removes the cause."""

    name: str
    namespace: str
    spec: Manifest
    reason: str
    says: tuple[str, ...]
    mend: Callable[["Place", Run], None]
    needs_own_node: bool = False

    def run(self, cluster: Cluster) -> Run:
        return Run(cluster, quickstart(self.name, self.namespace, **self.spec))

    @property
    def reused(self) -> bool:
        """Mended, it is the quickstart's run, all of whose stages are there."""
        return self.namespace == NAMESPACE


@dataclass(frozen=True)
class Place:
    """The cluster as its administrator holds it: operators whose platform is another, and a node with one device."""

    cluster: Cluster
    images: Images
    store: Bucket
    operators: dict[str, Installed] = field(default_factory=dict)

    def prepare(self) -> None:
        """Install what the runs need to go wrong."""
        platforms = {GPUS: {"device": {"resource": GPU}}, NO_PULL: {"images": {"inference": NO_IMAGE}}, BARE: {}}
        for name, platform in platforms.items():
            namespace(self.cluster, name)
            if name != BARE:
                self.cluster.apply(self.store.secret(name))
            self.operators[name] = Installed(self.cluster, self.images, name, name)
            self.operators[name].apply(merged(ELSEWHERE, {"runNamespaces": [name], "platform": platform}))
        if self.cluster.one_node:
            self.devices("1")

    def restore(self) -> None:
        """Have the node as it was. The namespaces go with the session's."""
        if self.cluster.one_node:
            self.devices(None)

    def devices(self, count: str | None) -> None:
        """Have the node offer so many devices."""
        (node,) = self.cluster.list("nodes", "")
        patch = json.dumps({"status": {"capacity": {GPU: count}, "allocatable": {GPU: count}}})
        self.cluster.kubectl("patch", "node", node["metadata"]["name"], "--subresource=status", "--type=merge", f"--patch={patch}")


def _members(*others: Manifest) -> Manifest:
    members = quickstart()["spec"]["rehearsal"]["reconstructed"]["committee"]["members"]
    return {"rehearsal": {"reconstructed": {"committee": {"members": [*members, *others]}}}}


def _edit(**spec: object) -> Callable[[Place, Run], None]:
    return lambda _, run: run.patch(dict(spec))


CASES = (
    Wrong(
        "no-image",
        NO_PULL,
        ALONE,
        "Waiting",
        ("elicit", NO_IMAGE),
        lambda place, _: place.operators[NO_PULL].apply(merged(ELSEWHERE, {"runNamespaces": [NO_PULL]})),
    ),
    Wrong(
        "too-many-gpus",
        GPUS,
        {"baseModel": {"serving": {"tensorParallel": 2}}, **ALONE},
        "Waiting",
        ("elicit", f"Insufficient {GPU}"),
        _edit(baseModel={"serving": {"tensorParallel": 1}}),
        needs_own_node=True,
    ),
    Wrong(
        "no-secret",
        BARE,
        ALONE,
        "Waiting",
        ("preflight", 'secret "s3" not found'),
        lambda place, run: place.cluster.apply(place.store.secret(run.namespace)),
    ),
    Wrong(
        "no-such-store",
        NAMESPACE,
        {"store": "archive"},
        "Refused",
        ("spec.store: the platform has no store 'archive'; it has default",),
        _edit(store="default"),
    ),
    Wrong(
        "no-such-endpoint",
        NAMESPACE,
        _members({"name": "gpt", **GONE}),
        "Refused",
        ("committee.members[2].endpoint.name: the platform has no endpoint 'gone'; it has none",),
        _edit(**_members()),
    ),
    Wrong(
        "no-such-model",
        NAMESPACE,
        {"baseModel": {"uri": "store://inputs/nothing"}},
        "StageFailed",
        ("spec.baseModel.uri", "store://inputs/nothing"),
        _edit(baseModel={"uri": "store://inputs/base"}),
    ),
    Wrong(
        "no-such-data",
        NAMESPACE,
        {"domain": {"uri": "store://inputs/nothing.jsonl"}},
        "StageFailed",
        ("spec.domain.uri", "there is no store://inputs/nothing.jsonl in the store"),
        _edit(domain={"uri": "store://inputs/domain.jsonl"}),
    ),
    Wrong(
        "no-such-node",
        NAMESPACE,
        {"seed": 9, "scheduling": {"nodeSelector": {"example.com/pool": "none"}}},
        "Waiting",
        ("didn't match Pod's node affinity/selector",),
        _edit(seed=0, scheduling={"nodeSelector": None}),
    ),
)
"""Those that hold room on the node until they are mended come first."""
