"""Images on the node without a registry: the sandbox of every pod, made here, and those that a container tool of this machine holds."""

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.onenode.daemons import SYSTEM_PATH
from tests.onenode.layout import CONTAINERD_SOCKET, TOOLS_FOLDER
from tests.tools import tool

PAUSE = "rehearsal.dev/pause:1"
TOOLS = {
    "docker": (["image", "inspect", "--format={{.Id}}"], ["save"]),
    "podman": (["image", "inspect", "--format={{.Id}}"], ["push", "--quiet"]),
    "buildah": (["inspect", "--type=image", "--format={{.FromImageID}}"], ["push", "--quiet"]),
}
"""How each is asked for the digest of an image, and how it writes one; in the order in which `make images` builds with them."""


class Unknown(Exception):
    """No container tool of this machine holds an image of that name."""


def is_served() -> bool:
    """Whether containerd answers."""
    return CONTAINERD_SOCKET.exists() and _ctr("version").returncode == 0


def provide(name: str, program: Path) -> None:
    """Put an image of one program on the node, in the place of any that has its name."""
    _check(_ctr("images", "import", "-", input=archive(name, program)), name)


def load(name: str) -> str:
    """Bring an image that docker, podman or buildah holds to the node, unless it is there, and return its full name.

    It goes through a pipe, and is on the node once, unpacked: what was only needed to unpack it is dropped.
    """
    full = full_name(name)
    program, digest = _holder(name)
    images = _on_node()
    if full in images and images[full] == images.get(digest):
        return full
    destination = [] if program == "docker" else [f"docker-archive:/dev/stdout:{full}"]
    with subprocess.Popen([program, *TOOLS[program][1], name, *destination], stdout=subprocess.PIPE) as archive:
        imported = _ctr("images", "import", "--local", "--discard-unpacked-layers", "-", stdin=archive.stdout)
    _check(imported, name)  # before the writer: who is not read to the end cannot write to the end
    if archive.returncode:
        raise RuntimeError(f"{program} could not write {name}")
    return full


def full_name(name: str) -> str:
    """Return an image's name as Kubernetes reads it: with registry and tag."""
    first, slash, _ = name.partition("/")
    has_registry = bool(slash) and (first == "localhost" or bool(set(first) & set(".:")))
    registry = "" if has_registry else "docker.io/" if slash else "docker.io/library/"
    return registry + name + ("" if ":" in name.rpartition("/")[2] else ":latest")


def _holder(name: str) -> tuple[str, str]:
    """Return the first container tool that works here and holds the image, and the image's digest."""
    for program, (inspect, _) in TOOLS.items():
        if _said(program, "info") and (digest := _said(program, *inspect, name)):
            return program, f"sha256:{digest.removeprefix('sha256:')}"
    raise Unknown(f"no image {name} in {', '.join(TOOLS)}: 'make images' makes Rehearsal's")


def _said(program: str, *arguments: str) -> str:
    """Return what a container tool answers: nothing where it is not there, does not work or does not know."""
    if not shutil.which(program):
        return ""
    done = subprocess.run([program, *arguments], check=False, capture_output=True, text=True)
    return "" if done.returncode else done.stdout.strip()


def _on_node() -> dict[str, str]:
    """Return which manifest each name on the node stands for. An image is there under its own digest, too."""
    lines = _ctr("images", "list").stdout.decode().splitlines()[1:]
    return {name: manifest for name, _, manifest, *_ in map(str.split, lines)}


def archive(name: str, program: Path) -> bytes:
    """Return an image of one program, as `docker save` writes them."""
    layer = _tar({program.name: (program.read_bytes(), 0o755)})
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"], "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    files = {"manifest.json": json.dumps(manifest).encode(), "config.json": json.dumps(config).encode(), "layer.tar": layer}
    return _tar({path: (content, 0o644) for path, content in files.items()})


def _tar(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for path, (content, mode) in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


def _ctr(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [tool("ctr", TOOLS_FOLDER), f"--address={CONTAINERD_SOCKET}", "--namespace=k8s.io", *arguments]
    return subprocess.run(command, check=False, capture_output=True, env={"PATH": SYSTEM_PATH}, **options)


def _check(done: subprocess.CompletedProcess[bytes], name: str) -> None:
    if done.returncode:
        raise RuntimeError(f"{name} could not be brought to the node: {done.stderr.decode(errors='replace').strip()}")
