"""How the components of a control plane are called, whoever runs them: with or without nodes, for a test or for longer."""

from collections.abc import Sequence
from pathlib import Path


def etcd_flags(folder: Path, port: int, peer_port: int) -> list[str]:
    """One member on loopback, with its data in the folder. Quick rather than safe: what it holds may be lost with the machine."""
    url, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    return [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server_flags(
    folder: Path, etcd_port: int, address: tuple[str, int], certificate: tuple[Path, Path], token_key: Path
) -> list[str]:
    """An API server at host and port whose users are the lines of `tokens.csv` in the folder."""
    host, port = address
    return [
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        f"--bind-address={host}",
        f"--advertise-address={host}",
        f"--secure-port={port}",
        f"--tls-cert-file={certificate[0]}",
        f"--tls-private-key-file={certificate[1]}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={token_key}",
        f"--service-account-signing-key-file={token_key}",
        "--kubelet-preferred-address-types=InternalIP",
        "--profiling=false",
    ]


def controllers_flags(kubeconfig: Path, controllers: Sequence[str], token_key: Path) -> list[str]:
    """A controller manager, the only one, with these controllers; `*` is all that are on by default."""
    return [
        f"--kubeconfig={kubeconfig}",
        f"--controllers={','.join(controllers)}",
        f"--service-account-private-key-file={token_key}",
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
    ]
