"""What this machine has, what pods ask of it, and who holds which device.

Requests are what a scheduler goes by; nothing here measures or limits what a process really uses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from rehearsal.api.quantity import quantity
from rehearsal.cluster.port import Manifest

VISIBLE_DEVICES = {"nvidia.com/gpu": "CUDA_VISIBLE_DEVICES", "amd.com/gpu": "HIP_VISIBLE_DEVICES"}
"""The variable that tells a process which devices are its own."""

UNMETERED = ("ephemeral-storage",)
"""Asked for, but not kept account of: the disk is the machine's."""

Requests = dict[str, Decimal]


@dataclass(frozen=True)
class Capacity:
    """What pods may ask for in all: cores, bytes, and devices by extended resource name."""

    cpu: float
    memory: int
    devices: Mapping[str, int] = field(default_factory=dict)

    def amount(self, resource: str) -> Decimal:
        """Return how much of a resource there is."""
        known = {"cpu": Decimal(str(self.cpu)), "memory": Decimal(self.memory)}
        return known.get(resource, Decimal(self.devices.get(resource, 0)))


@dataclass(frozen=True)
class Claim:
    """What an admitted pod holds: amounts, and the numbers of its devices by resource."""

    requests: Requests
    devices: Mapping[str, tuple[int, ...]]

    def environment(self, pod: Manifest, container: str) -> dict[str, str]:
        """Return what tells a container which of the pod's devices are its own; one that asked for none sees none."""
        return {
            VISIBLE_DEVICES[resource]: ",".join(map(str, numbers[_offset(pod, container, resource)]))
            for resource, numbers in self.devices.items()
            if resource in VISIBLE_DEVICES
        }


class Ledger:
    """Who holds what of the capacity."""

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self._claims: dict[str, Claim] = {}

    def refusal(self, pod: Manifest) -> str | None:
        """Return why the pod cannot start now, in the scheduler's words, or None."""
        wanted = requests(pod)
        short = sorted(name for name, amount in wanted.items() if amount > self._free(name))
        if not short:
            return None
        words = "0/1 nodes are available: " + ", ".join(f"1 Insufficient {name}" for name in short) + "."
        never = [
            f"{name} {_plain(wanted[name])} of {_plain(self._capacity.amount(name))}"
            for name in short
            if wanted[name] > self._capacity.amount(name)
        ]
        return words + (f" It can never start on this machine: it asks for {', '.join(never)}." if never else "")

    def admit(self, uid: str, pod: Manifest) -> Claim:
        """Let a pod that fits have what it asks for, until `release`."""
        wanted = requests(pod)
        devices = {name: tuple(self._free_numbers(name)[: int(wanted.get(name, 0))]) for name in self._capacity.devices}
        claim = self._claims[uid] = Claim(wanted, devices)
        return claim

    def release(self, uid: str) -> None:
        """Take back what the pod holds."""
        self._claims.pop(uid, None)

    def _free(self, resource: str) -> Decimal:
        held = sum((claim.requests.get(resource, Decimal(0)) for claim in self._claims.values()), Decimal(0))
        return self._capacity.amount(resource) - held

    def _free_numbers(self, resource: str) -> list[int]:
        held = {number for claim in self._claims.values() for number in claim.devices.get(resource, ())}
        return [number for number in range(self._capacity.devices[resource]) if number not in held]


def requests(pod: Manifest) -> Requests:
    """Return what a pod asks for as the scheduler reckons: what runs together is added up, init containers one at a time.

    https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers
    """
    spec = pod["spec"]
    sidecars: Requests = {}
    most: Requests = {}
    for container in spec.get("initContainers", ()):
        asked = _of_container(container)
        if is_sidecar(container):
            sidecars = _sum(sidecars, asked)
            asked = {}
        most = _maximum(most, _sum(sidecars, asked))
    running = sidecars
    for container in spec["containers"]:
        running = _sum(running, _of_container(container))
    return _maximum(most, running)


def is_sidecar(container: Manifest) -> bool:
    """Tell whether an init container is a native sidecar."""
    return container.get("restartPolicy") == "Always"


def _offset(pod: Manifest, container: str, resource: str) -> slice:
    """Where a container's devices lie among its pod's: sidecars in order, then whoever runs beside them."""
    start = 0
    for other in [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]:
        count = int(_of_container(other).get(resource, 0))
        if other["name"] == container:
            return slice(start, start + count)
        if is_sidecar(other):
            start += count
    return slice(0)


def _of_container(container: Manifest) -> Requests:
    resources = container.get("resources", {})
    asked = {**resources.get("limits", {}), **resources.get("requests", {})}
    return {name: quantity(amount) for name, amount in asked.items() if name not in UNMETERED}


def _sum(left: Requests, right: Requests) -> Requests:
    return {name: left.get(name, Decimal(0)) + right.get(name, Decimal(0)) for name in left | right}


def _maximum(left: Requests, right: Requests) -> Requests:
    return {name: max(left.get(name, Decimal(0)), right.get(name, Decimal(0))) for name in left | right}


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
