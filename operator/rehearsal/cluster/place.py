"""Where a pod lies on this machine: a host folder for each volume, a free port for each containerPort, and commands to match.

There is no mount namespace: only a whole argument or value that equals a mount path, or lies under it, is rewritten
(`--model=/model` is not), and what is written outside the pod's folders stays. /dev/shm is the machine's own.
"""

import errno
import itertools
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rehearsal.cluster.capacity import Claim
from rehearsal.cluster.fields import ANNOTATION
from rehearsal.cluster.job_status import INDEX_ANNOTATION
from rehearsal.cluster.port import Manifest

MARK = "REHEARSAL_POD"
"""The environment variable that tells whose a process is: the pod's UID."""

PORTS = range(20_000, 32_000)
"""Below the ports that the kernel gives to outgoing connections, one of which could take ours while an engine loads."""

_TERMINATION_LOG = "/dev/termination-log"
_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


@dataclass(frozen=True)
class Hosted:
    """A container as this machine runs it. `message` is the file of its termination message."""

    command: list[str]
    environment: dict[str, str]
    message: Path


class Place:
    """The folders and ports of one pod. Its folder lies with the state; the temporary one has a short path, for sockets."""

    def __init__(self, pod: Manifest, state: Path, claim: Claim, taken_ports: set[int]) -> None:
        self._pod, self._claim = pod, claim
        self._spec = pod["spec"]
        self._uid = pod["metadata"]["uid"]
        self.folder = state / "pods" / self._uid
        self.temporary = Path(tempfile.gettempdir()) / f"rehearsal-{self._uid[:8]}"
        self.home = self.temporary / "home"
        self.ports: dict[int, int] = {}
        for container in self._containers():
            for port in container.get("ports", ()):
                number = port["containerPort"]
                self.ports[number] = self.ports.get(number) or _free_port({*taken_ports, *self.ports.values()})

    def prepare(self) -> None:
        """Make the folders and write what downwardAPI volumes show."""
        for folder in (self.folder, self.temporary, self.home, self.temporary / "tmp", self.folder / "messages"):
            folder.mkdir(parents=True, mode=0o700)
        annotations = self._pod["metadata"].get("annotations", {})
        for volume in self._spec.get("volumes", ()):
            folder = self._volume(volume["name"])
            folder.mkdir(parents=True, exist_ok=True)
            for item in volume.get("downwardAPI", {}).get("items", ()):
                match = ANNOTATION.fullmatch(item["fieldRef"]["fieldPath"])
                (folder / item["path"]).write_text(annotations.get(match[1], "") if match else "")

    def remove(self) -> None:
        """Remove the folders."""
        for folder in (self.folder, self.temporary):
            shutil.rmtree(folder, ignore_errors=True)

    def host(self, container: Manifest) -> Hosted:
        """Return how the container is run here."""
        paths = self._paths(container)
        message = self.folder / "messages" / container["name"]
        paths[container.get("terminationMessagePath", _TERMINATION_LOG)] = message
        declared = self._declared_environment(container, paths)
        command = [expand(_rewrite(item, paths), declared) for item in (*container["command"], *container.get("args", ()))]
        return Hosted(command, self._own_environment(container) | declared, message)

    def port(self, container: Manifest, port: int | str) -> int:
        """Return the host's port for a container's, given by number or name."""
        named: dict[str | None, int] = {declared.get("name"): declared["containerPort"] for declared in container.get("ports", ())}
        number: int = port if isinstance(port, int) else named[port]
        return self.ports.get(number, number)

    def _own_environment(self, container: Manifest) -> dict[str, str]:
        programs = Path(sys.executable).parent
        return {
            "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary / "tmp"),
            "LANG": "C.UTF-8",
            MARK: self._uid,
        } | self._claim.environment(self._pod, container["name"])

    def _declared_environment(self, container: Manifest, paths: Mapping[str, Path]) -> dict[str, str]:
        index = self._pod["metadata"].get("annotations", {}).get(INDEX_ANNOTATION)
        declared = {} if index is None else {"JOB_COMPLETION_INDEX": index}
        for entry in container.get("env", ()):
            if "valueFrom" in entry:  # a key of a Secret; its value is nobody's to interpret
                declared[entry["name"]] = os.environ.get(entry["name"], "")
                continue
            value = entry.get("value", "")
            if entry["name"].endswith("_PORT") and value.isdigit():
                value = str(self.ports.get(int(value), value))
            declared[entry["name"]] = expand(_rewrite(value, paths), declared)
        return declared

    def _paths(self, container: Manifest) -> dict[str, Path]:
        mounts = container.get("volumeMounts", ())
        return {mount["mountPath"].rstrip("/"): self._volume(mount["name"]) for mount in mounts}

    def _volume(self, name: str) -> Path:
        """The host's folder of a volume."""
        mounts = [mount for container in self._containers() for mount in container.get("volumeMounts", ())]
        used_at = {mount["mountPath"].rstrip("/") for mount in mounts if mount["name"] == name}
        special = {"/dev/shm": Path("/dev/shm"), "/tmp": self.temporary / "tmp"}  # noqa: S108 - names, not files of ours
        return next((folder for path, folder in special.items() if path in used_at), self.folder / "volumes" / name)

    def _containers(self) -> list[Manifest]:
        return [*self._spec.get("initContainers", ()), *self._spec["containers"]]


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Replace $(VAR) as Kubernetes does: an unknown name stays as it is, $$ is one dollar sign."""

    def replaced(match: re.Match[str]) -> str:
        return "$" if match[1] is None else environment.get(match[1], match[0])

    return _REFERENCE.sub(replaced, text)


def _rewrite(text: str, paths: Mapping[str, Path]) -> str:
    """Return the host's path for a path at or under a mount (the deepest one), any other text as it is."""
    for path in sorted(paths, key=len, reverse=True):
        if text == path or text.startswith(f"{path}/"):
            return f"{paths[path]}{text[len(path) :]}"
    return text


def _free_port(taken: set[int]) -> int:
    """A port on which nothing listens now. Whoever takes it in between makes the container fail and be retried."""
    first = secrets.randbelow(len(PORTS))
    for port in itertools.chain(PORTS[first:], PORTS[:first]):
        if port in taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(errno.EADDRINUSE, f"no free port between {PORTS.start} and {PORTS.stop}")
