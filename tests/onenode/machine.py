"""What the machine must have, what it was like before the cluster, and how it becomes that again."""

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

from tests.onenode.daemons import SYSTEM_PATH
from tests.onenode.layout import RUN, STATE

PACKAGES = {
    "runc": "runc",
    "nft": "nftables",
    "ip": "iproute2",
    "umount": "mount",
    "bridge": "containernetworking-plugins",
}
"""The Debian package of every program that a node calls."""
CNI_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin")
SET = {"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1"}
"""Pods are routed out, and what passes the bridge is seen by the Services' rules."""
KUBELET_SETS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
MADE_OUTSIDE = ("/var/lib/kubelet", "/var/lib/cni", "/var/log/containers", "/var/log/pods", "/run/containerd")
"""Folders that kubelet, containerd and CNI make whatever one tells them."""
BEFORE = STATE / "before.json"


class Unfit(Exception):
    """The machine cannot carry the cluster; the text says what is missing and what to do about it."""


def check_rights() -> None:
    """Raise Unfit where a node cannot be, and where the one that is there is not ours."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise Unfit(f"a node needs Linux on x86-64; this is {platform.system()} on {platform.machine()}")
    if os.geteuid() != 0:
        raise Unfit("a node needs root: it makes containers, mounts, a bridge and packet filters")
    owner = RUN / "owner"
    if owner.exists() and (path := Path(owner.read_text())) != STATE:
        raise Unfit(f"another checkout's cluster is on this machine: run 'make cluster-down' in {path.parents[1]}")


def equip() -> None:
    """Install what is missing of Debian's packages and the kernel's modules, or raise Unfit."""
    _install()
    if not _setting("net/bridge/bridge-nf-call-iptables").exists():
        _load_module("br_netfilter")
    if missing := [name for name in SET if not _setting(name).exists()]:
        raise Unfit(f"the kernel has no {', '.join(missing)}: load its module br_netfilter")


def cni_folder() -> str:
    """Return the folder of the network plugins."""
    return next((folder for folder in CNI_FOLDERS if Path(folder, "bridge").exists()), CNI_FOLDERS[0])


def change() -> None:
    """Remember what the machine is like, once, and set what the network needs."""
    if not BEFORE.exists():
        settings = {name: _setting(name).read_text().strip() for name in (*SET, *KUBELET_SETS) if _setting(name).exists()}
        absent = [folder for folder in MADE_OUTSIDE if not Path(folder).exists()]
        STATE.mkdir(parents=True, exist_ok=True)
        BEFORE.write_text(json.dumps({"settings": settings, "absent": absent}, indent=2))
    RUN.mkdir(exist_ok=True)
    (RUN / "owner").write_text(str(STATE))
    for name, value in SET.items():
        _setting(name).write_text(value)


def restore() -> list[str]:
    """Undo what was changed outside of our folders, remove these too, and return what there was."""
    removed = []
    if BEFORE.exists():
        before = json.loads(BEFORE.read_text())
        for name, value in before["settings"].items():
            if _setting(name).read_text().strip() != value:
                _setting(name).write_text(value)
                removed.append(f"setting {name.replace('/', '.')}: {value} again")
        removed += [_remove(Path(folder)) for folder in before["absent"] if Path(folder).exists()]
    return removed + [_remove(folder) for folder in (RUN, STATE) if folder.exists()]


def _install() -> None:
    places = os.pathsep.join([SYSTEM_PATH, *CNI_FOLDERS])
    missing = sorted({package for program, package in PACKAGES.items() if not shutil.which(program, path=places)})
    if not missing:
        return
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if not shutil.which("apt-get"):
        raise Unfit(f"programs of these packages are missing (by their names in Debian): {', '.join(missing)}")
    print(f"Installing: {' '.join(command)}", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["apt-get", "update"], command):
        done = subprocess.run(step, check=False, env=quiet, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise Unfit(f"'{' '.join(step)}' failed:\n{done.stdout[-2000:]}")


def _load_module(name: str) -> None:
    if modprobe := shutil.which("modprobe", path=SYSTEM_PATH):
        subprocess.run([modprobe, name], check=False)


def _setting(name: str) -> Path:
    return Path("/proc/sys", name)


def _remove(folder: Path) -> str:
    shutil.rmtree(folder)
    return f"folder {folder}"
