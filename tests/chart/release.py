"""An install of the chart on a control plane, and its operator: a process beside it, for no kubelet is there to run the pod."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from aiohttp import web

from tests.chart.helm import CHART, RELEASE, Manifest, helm
from tests.control.given import Plane
from tests.control.operator_process import Operator
from tests.ports import free_port

Right = tuple[str, str, str]
"""API group, resource and verb, as RBAC has them."""

NAMESPACED = re.compile(r"^/(?:api|apis/(?P<group>[^/]+))/[^/]+/namespaces/[^/]+/(?P<kind>[^/]+)(?P<name>/[^/]+)?(?P<part>/.+)?$")


class Release:
    """A release in a namespace of the plane. A definition that is there already becomes its own."""

    def __init__(self, plane: Plane, namespace: str) -> None:
        self.plane, self.namespace = plane, namespace

    def install(self, values: Manifest) -> None:
        self._helm("install", str(CHART), "--take-ownership", values=values)

    def upgrade(self, values: Manifest, chart: Path = CHART) -> None:
        self._helm("upgrade", str(chart), "--force-conflicts", values=values)

    def rollback(self) -> None:
        """Go back to what was before the last upgrade."""
        self._helm("rollback", "--force-conflicts")

    def uninstall(self) -> None:
        self._helm("uninstall")

    def is_there(self) -> bool:
        return RELEASE in helm("list", "--short", *self._where)

    def get(self, path: str) -> Manifest:
        """Return an object of the release's namespace."""
        kind, name = path.split("/")
        return dict(json.loads(self.plane.kubectl("get", kind, name, f"--namespace={self.namespace}", "--output=json")))

    def account(self) -> str:
        """The user that the operator's pod is."""
        name = self.get(f"deployment/{RELEASE}")["spec"]["template"]["spec"]["serviceAccountName"]
        return f"system:serviceaccount:{self.namespace}:{name}"

    @property
    def _where(self) -> list[str]:
        return [f"--namespace={self.namespace}", f"--kubeconfig={self.plane.kubeconfig}"]

    def _helm(self, verb: str, *arguments: str, values: Manifest | None = None) -> None:
        helm(verb, RELEASE, *arguments, *self._where, values=values)


class InstalledOperator(Operator):
    """The release's Deployment as a process: its command, its platform file, the rights of its service account and no others."""

    def __init__(self, release: Release, folder: Path, url: str = "") -> None:
        folder.mkdir(exist_ok=True)
        self._folder, self._port = folder, free_port()
        (folder / "platform.yaml").write_text(release.get(f"configmap/{RELEASE}-platform")["data"]["platform.yaml"])
        pod = release.get(f"deployment/{RELEASE}")["spec"]["template"]["spec"]
        self._token = release.plane.service_account_token(release.namespace, pod["serviceAccountName"])
        kubeconfig = yaml.safe_load(release.plane.kubeconfig_for(self._token, release.namespace).read_text())
        kubeconfig["clusters"][0]["cluster"]["server"] = url or release.plane.url
        (folder / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
        (container,) = pod["containers"]
        self._command = [
            *("env", f"KUBECONFIG={folder / 'kubeconfig'}", sys.executable, *container["command"][1:], *container["args"]),
            *("--platform", str(folder / "platform.yaml"), "--port", str(self._port)),
        ]


class Asked:
    """A proxy's rule that lets everything pass: the rights that were called upon, and the paths that are in no namespace."""

    def __init__(self) -> None:
        self.rights: set[Right] = set()
        self.elsewhere: set[str] = set()

    async def __call__(self, request: web.Request) -> None:
        if not (found := NAMESPACED.match(request.path)):
            self.elsewhere.add(request.path)
            return
        listed = "watch" if request.query.get("watch") == "true" else "list"
        verbs = {"GET": "get" if found["name"] else listed, "POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}
        self.rights.add((found["group"] or "", found["kind"] + (found["part"] or ""), verbs[request.method]))


def granted(role: Manifest) -> Iterator[Right]:
    """Every single right of a Role."""
    for rule in role["rules"]:
        assert rule.keys() == {"apiGroups", "resources", "verbs"}
        yield from ((group, kind, verb) for group in rule["apiGroups"] for kind in rule["resources"] for verb in rule["verbs"])
