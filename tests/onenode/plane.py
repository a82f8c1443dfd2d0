"""The cluster's control plane: that of tests/control on the node's address, with all controllers, a scheduler, and rights for nodes."""

import secrets
from collections.abc import Sequence

from tests.control.access import Access
from tests.control.certificates import Authority, token_key
from tests.control.flags import api_server_flags, controllers_flags, etcd_flags
from tests.control.plane import component
from tests.onenode.daemons import Daemon
from tests.onenode.layout import ADDRESS, API_PORT, API_SERVICE, ETCD_PORTS, KEYS, KUBECONFIG, NODE, SERVICES, STATE, TOOLS_FOLDER
from tests.tools import tool

API_SERVER_SECONDS = 300.0
USERS = {
    "admin": ("admin", "system:masters"),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
}
"""Who asks the API server: the name of the kubeconfig, the user, the group. Kubernetes knows the rights of each."""
API_NAMES = [f"kubernetes{domain}" for domain in ("", ".default", ".default.svc", ".default.svc.cluster.local")]
"""What pods call the API server."""
TOKENS = KEYS / "tokens.csv"
TOKEN_KEY = KEYS / "service-accounts.key"


def make_keys() -> None:
    """Make keys, certificates and tokens, unless they are there: they last a year."""
    if TOKENS.exists():
        return
    KEYS.mkdir(parents=True, exist_ok=True)
    KEYS.chmod(0o700)
    authority = Authority(KEYS)
    authority.issue("kube-apiserver", (ADDRESS, API_SERVICE), API_NAMES)
    authority.issue("kubelet-client", group="system:masters")
    token_key(TOKEN_KEY)
    lines = [f'{secrets.token_hex(16)},{user},{user},"{group}"\n' for user, group in USERS.values()]
    TOKENS.write_text("".join(lines))


def access() -> Access:
    """Return the administrator's access, and write the kubeconfigs of all users."""
    tokens = [line.partition(",")[0] for line in TOKENS.read_text().splitlines()]
    admin = Access(KEYS, component("kubectl"), f"https://{ADDRESS}:{API_PORT}", KEYS / "ca.crt", tokens[0])
    for name, token in zip(USERS, tokens, strict=True):
        admin.kubeconfig_for(token, name)
    KUBECONFIG.write_bytes(admin.kubeconfig.read_bytes())
    KUBECONFIG.chmod(0o600)
    return admin


def start(admin: Access) -> None:
    """Start what does not run of etcd, API server, controllers and scheduler; return when the API server answers."""
    Daemon("etcd").start([*component("etcd"), *etcd_flags(STATE, *ETCD_PORTS)])
    start_api_server(admin)
    controllers = [*controllers_flags(KEYS / "admin.kubeconfig", ("*",), TOKEN_KEY), f"--root-ca-file={KEYS / 'ca.crt'}"]
    Daemon("kube-controller-manager").start([*component("kube-controller-manager"), *controllers])
    scheduler = [f"--kubeconfig={KEYS / 'scheduler.kubeconfig'}", "--leader-elect=false", "--secure-port=0"]
    Daemon("kube-scheduler").start([tool("node", TOOLS_FOLDER), "kube-scheduler", *scheduler])


def start_api_server(admin: Access) -> None:
    """Start the API server unless it runs, and return when it is ready."""
    server = Daemon("kube-apiserver")
    server.start([*component("kube-apiserver"), *_api_server_flags()])
    server.wait_until(admin.is_ready, API_SERVER_SECONDS)


def _api_server_flags() -> Sequence[str]:
    certificate = (KEYS / "kube-apiserver.crt", KEYS / "kube-apiserver.key")
    return [
        *api_server_flags(KEYS, ETCD_PORTS[0], (ADDRESS, API_PORT), certificate, TOKEN_KEY),
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--service-cluster-ip-range={SERVICES}",
        f"--kubelet-client-certificate={KEYS / 'kubelet-client.crt'}",
        f"--kubelet-client-key={KEYS / 'kubelet-client.key'}",
    ]
