"""What an administrator does with a control plane from a test: kubectl, plain requests, manifests, credentials for others."""

import json
import os
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]


class Refused(Exception):
    """The API server answered with an error; `code` is the HTTP status."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class Access:
    """An administrator's access to the API server at `url`. Every call blocks. Files go to the folder."""

    def __init__(self, folder: Path, kubectl: Sequence[str], url: str, ca: Path, token: str) -> None:
        self.folder, self._kubectl = folder, kubectl
        self.url, self.ca, self.token = url, ca, token
        self.ssl = ssl.create_default_context(cafile=str(ca))
        # No proxy that the environment names stands between a test and its API server.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.ssl))
        self.kubeconfig = self.kubeconfig_for(token, "admin")

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        """Run kubectl as the administrator, or with `--as=USER` as anybody, and return what it prints. Fails with its words."""
        options = [f"--kubeconfig={self.kubeconfig}", f"--cache-dir={self.folder / 'kubectl'}"]
        done = subprocess.run(
            [*self._kubectl, *options, *arguments],
            input=input,
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
            env={**os.environ, "KUBERC": "off"},
        )
        if done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}\n{done.stdout}")
        return done.stdout

    def request(self, method: str, path: str, body: Manifest | None = None, timeout: float = 30) -> Manifest:
        """Send a request as the administrator and return the object in the answer. Raises Refused, and OSError without an answer."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310 - our own URL
        try:
            with self._opener.open(request, timeout=timeout) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode(errors="replace")) from None
        return json.loads(content) if content.startswith(b"{") else {}

    def is_ready(self) -> bool:
        """Whether the API server answers and is ready."""
        try:
            self.request("GET", "/readyz", timeout=2)
        except (Refused, OSError):
            return False
        return True

    def apply(self, manifests: Path | Sequence[Manifest]) -> None:
        """Apply a file, a folder, or manifests; wait until the CRDs among them are served."""
        if isinstance(manifests, Path):
            self.kubectl("apply", "--server-side", "-f", str(manifests))
        else:
            self.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(manifests))
        if self.kinds():
            # A definition as new as this may have no conditions yet, which the second wait takes for an error.
            self.kubectl("wait", "--for=jsonpath={.status.conditions}", "crd", "--all")
            self.kubectl("wait", "--for=condition=Established", "crd", "--all")

    def kinds(self) -> set[str]:
        """Return the names of the CRDs that there are."""
        crds = self.request("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]
        return {crd["metadata"]["name"] for crd in crds}

    def service_account_token(self, namespace: str, name: str) -> str:
        """Return a token that the API server issues for a service account."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        return str(self.request("POST", path, {"spec": {"expirationSeconds": 86_400}})["status"]["token"])

    def kubeconfig_for(self, token: str, name: str) -> Path:
        """Write a kubeconfig for the bearer of a token, under that name."""
        path = self.folder / f"{name}.kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": "plane", "cluster": {"server": self.url, "certificate-authority": str(self.ca)}}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": "plane", "user": name}}],
        }
        path.write_text(yaml.safe_dump(config))
        return path
