"""The node: containerd with runc, kubelet, kube-proxy, and CoreDNS as a process of the host. How each is configured, and started."""

import json
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from tests.control.access import Access
from tests.onenode import images, network
from tests.onenode.daemons import SYSTEM_PATH, Daemon
from tests.onenode.layout import ADDRESS, BRIDGE, CONFIG, CONTAINERD_SOCKET, KEYS, LOGS, NODE, RUN, STATE, TOOLS_FOLDER
from tests.onenode.machine import cni_folder
from tests.tools import tool

NODE_SECONDS = 300.0


def start(admin: Access) -> None:
    """Start what does not run of containerd, kubelet, kube-proxy and CoreDNS; return when the node takes pods."""
    _configure()
    shim = Path(_tool("containerd-shim-runc-v2")).parent
    containerd = Daemon("containerd")
    containerd.start([_tool("containerd"), f"--config={CONFIG / 'containerd.toml'}"], {"PATH": f"{shim}:{SYSTEM_PATH}"})
    containerd.wait_until(images.is_served, NODE_SECONDS)
    images.provide(images.PAUSE, Path(_tool("pause")))
    start_kubelet()
    Daemon("kube-proxy").start([_tool("node"), "kube-proxy", f"--config={CONFIG / 'kube-proxy.yaml'}"])
    coredns = Daemon("coredns")
    coredns.start([_tool("coredns"), f"-conf={CONFIG / 'Corefile'}"])
    coredns.wait_until(lambda: _answers(f"http://{ADDRESS}:8181/ready"), NODE_SECONDS)
    # The API server may still have what the kubelet said before a reboot.
    Daemon("kubelet").wait_until(lambda: _answers("http://127.0.0.1:10248/healthz") and _is_ready(admin), NODE_SECONDS)


def start_kubelet() -> None:
    """Start the kubelet unless it runs."""
    flags = [
        f"--config={CONFIG / 'kubelet.yaml'}",
        f"--kubeconfig={KEYS / 'kubelet.kubeconfig'}",
        f"--hostname-override={NODE}",
        f"--node-ip={ADDRESS}",
        f"--root-dir={STATE / 'kubelet'}",
        f"--cert-dir={STATE / 'kubelet' / 'pki'}",
    ]
    Daemon("kubelet").start([_tool("node"), "kubelet", *flags])


def _configure() -> None:
    CONFIG.mkdir(parents=True, exist_ok=True)
    (CONFIG / "cni").mkdir(exist_ok=True)
    (CONFIG / "cni" / "onenode.conflist").write_text(json.dumps(network.cni(), indent=2))
    (CONFIG / "containerd.toml").write_text(_containerd())
    (CONFIG / "kubelet.yaml").write_text(yaml.safe_dump(_kubelet()))
    (CONFIG / "kube-proxy.yaml").write_text(yaml.safe_dump(_kube_proxy()))
    (CONFIG / "Corefile").write_text(_corefile())


def _containerd() -> str:
    return f"""
version = 3
root = "{STATE / "containerd"}"
state = "{RUN / "containerd"}"
disabled_plugins = ["io.containerd.nri.v1.nri"]

[grpc]
address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.internal.v1.opt"]
path = "{STATE / "opt"}"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
pinned_images = {{ sandbox = "{images.PAUSE}" }}

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{cni_folder()}"]
conf_dir = "{CONFIG / "cni"}"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
options = {{ BinaryName = "runc", Root = "{RUN / "runc"}", SystemdCgroup = false }}
"""


def _kubelet() -> Mapping[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "authentication": {"x509": {"clientCAFile": str(KEYS / "ca.crt")}},
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "clusterDNS": [ADDRESS],
        "clusterDomain": "cluster.local",
        "podLogsDir": str(LOGS / "pods"),
        "volumePluginDir": str(STATE / "kubelet" / "volume-plugins"),
        # No registry has the images that were loaded: neither a full disk nor their age may remove them.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "makeIPTablesUtilChains": False,
    }


def _kube_proxy() -> Mapping[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(KEYS / "proxy.kubeconfig")},
        "hostnameOverride": NODE,
        "mode": "nftables",
        "detectLocalMode": "BridgeInterface",
        "detectLocal": {"bridgeInterface": BRIDGE},
        "bindAddress": ADDRESS,
        "healthzBindAddress": f"{ADDRESS}:10256",
        # Zero leaves the machine's connection tracking as it is.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def _corefile() -> str:
    """Names of the cluster from memory, never cached as missing: a pod's name is asked for before the pod is there."""
    upstream = "forward . /etc/resolv.conf" if "nameserver" in Path("/etc/resolv.conf").read_text() else ""
    return f"""
. {{
    bind {ADDRESS}
    errors
    ready {ADDRESS}:8181
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {KEYS / "admin.kubeconfig"}
    }}
    {upstream}
}}
"""


def _is_ready(admin: Access) -> bool:
    """Whether the node is ready and the scheduler may use it."""
    nodes = admin.request("GET", "/api/v1/nodes")["items"]
    return any(
        condition["type"] == "Ready" and condition["status"] == "True" and not node["spec"].get("taints")
        for node in nodes
        for condition in node["status"].get("conditions", [])
    )


def _answers(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with closing(direct.open(url, timeout=10)) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _tool(name: str) -> str:
    return tool(name, TOOLS_FOLDER)
