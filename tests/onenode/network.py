"""The pods' network: a bridge with the node's address, and masquerade for what leaves it. CNI joins the pods to it."""

import shutil
import subprocess

from tests.onenode.daemons import SYSTEM_PATH
from tests.onenode.layout import ADDRESS, BRIDGE, NFT_TABLE, PODS, RUN

RULES = f"""
table ip {NFT_TABLE}
delete table ip {NFT_TABLE}
table ip {NFT_TABLE} {{
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        ip saddr {PODS} ip daddr != {PODS} masquerade
    }}
}}
"""
KUBE_PROXY_TABLES = (("ip", "kube-proxy"), ("ip6", "kube-proxy"))


def connect() -> None:
    """Make bridge and masquerade, unless they are there."""
    if BRIDGE not in _links():
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
        _run("ip", "address", "add", f"{ADDRESS}/{PODS.partition('/')[2]}", "dev", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")
    _run("nft", "-f", "-", text=RULES)


def disconnect() -> list[str]:
    """Remove bridge and packet filters, kube-proxy's too, and return what there was. Pods' links go with their namespaces."""
    if not (shutil.which("ip", path=SYSTEM_PATH) and shutil.which("nft", path=SYSTEM_PATH)):
        return []
    removed = []
    if BRIDGE in _links():
        _run("ip", "link", "delete", BRIDGE)
        removed.append(f"link {BRIDGE}")
    tables = [line.split()[1:] for line in _run("nft", "list", "tables").splitlines()]
    for family, name in (("ip", NFT_TABLE), *KUBE_PROXY_TABLES):
        if [family, name] in tables:
            _run("nft", "delete", "table", family, name)
            removed.append(f"nft table {family} {name}")
    return removed


def cni() -> dict[str, object]:
    """Return the network's description for containerd, in the form of CNI."""
    addresses = {
        "type": "host-local",
        "dataDir": str(RUN / "addresses"),
        "ranges": [[{"subnet": PODS, "gateway": ADDRESS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "hairpinMode": True, "ipam": addresses}
    return {"cniVersion": "1.0.0", "name": BRIDGE, "plugins": [bridge]}


def _links() -> list[str]:
    return [line.split(": ")[1].partition("@")[0] for line in _run("ip", "-oneline", "link").splitlines()]


def _run(*command: str, text: str | None = None) -> str:
    done = subprocess.run(command, input=text, check=False, capture_output=True, text=True, env={"PATH": SYSTEM_PATH})
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
