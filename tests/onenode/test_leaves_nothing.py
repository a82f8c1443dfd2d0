"""After `down` the machine is what it was before `up`, whatever ran, and whatever of the cluster had died. After a reboot it comes back."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.cluster.supervise import process_table
from tests.onenode import cluster, images, network, plane, remains
from tests.onenode.conftest import PROBE, probe_program
from tests.onenode.daemons import SYSTEM_PATH, Daemon
from tests.onenode.layout import RUN, STATE
from tests.onenode.machine import KUBELET_SETS, SET, check_rights, equip
from tests.onenode.test_pods import create, pod, probe, wait

pytestmark = pytest.mark.cluster

FOLDERS = ("/etc", "/opt", "/run", "/usr/libexec", "/var/lib", "/var/log", "/var/log/containers")
PROGRAMS = (b"/.cache/tools/", b"/pause", b"/probe", b"containerd-shim")


@pytest.fixture
def no_cluster() -> Iterator[None]:
    """No cluster before the test, and none after it. One that is up is somebody's. What a node calls is installed, and stays."""
    if STATE.exists() or RUN.exists():
        pytest.skip("a cluster is on this machine: 'make cluster-down' first")
    check_rights()
    equip()
    yield
    cluster.down()


def test_down_leaves_nothing_of_a_cluster_with_running_pods(no_cluster: None):
    before = machine()
    bring_up_a_pod()
    assert machine() != before
    cluster.down()
    assert machine() == before


def test_down_leaves_nothing_of_a_cluster_that_died(no_cluster: None):
    before = machine()
    bring_up_a_pod()
    kill_servers()
    cluster.down()
    assert machine() == before


def test_a_cluster_comes_back_after_a_reboot_with_its_pods(no_cluster: None):
    bring_up_a_pod(restartPolicy="Always")
    kill_servers()
    for step in (remains.kill_containers, remains.unmount, remains.remove_cgroups, network.disconnect):
        step()
    shutil.rmtree(RUN)
    cluster.up()
    restarted = "jsonpath={.status.containerStatuses[0].restartCount}=1"
    wait(plane.access(), "default", "pod/web", restarted)


def test_down_without_a_cluster_finds_nothing(no_cluster: None):
    assert cluster.down() == []


def kill_servers() -> None:
    for name in cluster.DAEMONS:
        pid = Daemon(name).pid()
        assert pid
        os.kill(pid, signal.SIGKILL)


def bring_up_a_pod(**spec: str) -> None:
    cluster.up()
    images.provide(PROBE, probe_program())
    admin = plane.access()
    admin.kubectl("wait", "--for=create", "serviceaccount/default", "--namespace=default", "--timeout=240s")
    create(admin, "default", pod("web", probe("serve", "8080"), **spec))
    wait(admin, "default", "pod/web", "condition=Ready")


def machine() -> dict[str, set[str]]:
    """What a cluster could leave behind."""
    return {
        "processes": {f"{pid} {line!r}" for pid in process_table() if any(name in (line := command(pid)) for name in PROGRAMS)},
        "mounts": {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()},
        "links": {line.split(": ")[1] for line in output("ip", "-oneline", "link")},
        "filters": set(output("nft", "list", "tables")),
        "cgroups": {folder for folder, _, _ in os.walk("/sys/fs/cgroup")},
        "settings": {f"{name}={Path('/proc/sys', name).read_text()}" for name in (*SET, *KUBELET_SETS)},
        "files": {str(path) for folder in FOLDERS for path in Path(folder).glob("*")},
        "ours": {str(folder) for folder in (RUN, STATE) if folder.exists()},
    }


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def output(*words: str) -> list[str]:
    return subprocess.run(words, check=True, capture_output=True, text=True, env={"PATH": SYSTEM_PATH}).stdout.splitlines()
