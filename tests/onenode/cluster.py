"""The cluster as a whole: up, down, and the two servers whose absence a test may want to see."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.onenode import machine, network, node, plane, remains
from tests.onenode.daemons import Daemon
from tests.onenode.layout import STATE

DAEMONS = (
    "kubelet",
    "containerd",
    "kube-proxy",
    "coredns",
    "kube-scheduler",
    "kube-controller-manager",
    "kube-apiserver",
    "etcd",
)
"""In the order in which they end."""


def up() -> None:
    """Start whatever of the cluster does not run, with the state it had; return when it takes pods."""
    machine.check_rights()
    with _alone():
        machine.equip()
        machine.change()
        network.connect()
        plane.make_keys()
        admin = plane.access()
        plane.start(admin)
        node.start(admin)


def down() -> list[str]:
    """End and remove everything, whatever there is of it, and return what that was."""
    machine.check_rights()
    with _alone():
        removed = _stop("kubelet")
        removed += remains.kill_containers()
        for name in DAEMONS:
            removed += _stop(name)
        return [*removed, *remains.unmount(), *remains.remove_cgroups(), *network.disconnect(), *machine.restore()]


def check_up() -> None:
    """Raise Unfit where there is no cluster, or none that is ours to act on."""
    machine.check_rights()
    if not Daemon("containerd").pid():
        raise machine.Unfit("there is no cluster: 'make cluster' starts it")


def start(name: str) -> None:
    """Start the kubelet or the API server again."""
    check_up()
    if name == "kubelet":
        node.start_kubelet()
    else:
        plane.start_api_server(plane.access())


def stop(name: str) -> None:
    """End the kubelet or the API server: pods go on without."""
    check_up()
    _stop("kubelet" if name == "kubelet" else "kube-apiserver")


@contextmanager
def _alone() -> Iterator[None]:
    """Let others who want the cluster up or down wait."""
    folder = os.open(STATE.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _stop(name: str) -> list[str]:
    return [f"process {name}"] if Daemon(name).stop() else []
