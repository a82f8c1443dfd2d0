"""Where the one-node cluster lives: its folders, its names and its addresses. There is one on a machine."""

from pathlib import Path

from tests.tools import ROOT

STATE = ROOT / ".cache" / "onenode"
"""What outlives a reboot: etcd's data, images, keys, configuration, logs."""
RUN = Path("/run/rehearsal-onenode")
"""What does not: process records, sockets (whose paths must be short), network namespaces, pods' addresses."""
KUBECONFIG = STATE / "kubeconfig"
LOGS = STATE / "logs"
CONFIG = STATE / "config"
KEYS = STATE / "keys"
CONTAINERD_SOCKET = RUN / "containerd.sock"

NODE = "onenode"
BRIDGE = "onenode0"
NFT_TABLE = "onenode"
PODS = "10.244.0.0/24"
ADDRESS = "10.244.0.1"
"""The bridge's: the node, its API server and its DNS. A node's address may not be on loopback."""
SERVICES = "10.96.0.0/24"
API_SERVICE = "10.96.0.1"
API_PORT = 6443
ETCD_PORTS = (23790, 23800)
CGROUP = "kubepods"
TOOLS_FOLDER = "tests/onenode/tools"
