"""What an administrator does with a control plane from a test: kubectl, plain requests, manifests, credentials for others."""

import json
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SERVED_SECONDS = 120


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
            timeout=300,
            env={**os.environ, "KUBERC": "off"},
        )
        if done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}\n{done.stdout}")
        return done.stdout

    def request(self, method: str, path: str, body: Manifest | None = None, timeout: float = 60) -> Manifest:
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
            self.request("GET", "/readyz", timeout=10)
        except (Refused, OSError):
            return False
        return True

    def apply(self, manifests: Path | Sequence[Manifest]) -> None:
        """Apply a file, a folder, or manifests; wait until the CRDs among them are served."""
        source, text = (str(manifests), None) if isinstance(manifests, Path) else ("-", yaml.safe_dump_all(manifests))
        applied = self.kubectl("apply", "--server-side", "--output=name", "-f", source, input=text).split()
        crds = [f"crd/{name}" for kind, _, name in (each.partition("/") for each in applied) if kind.startswith("customresourced")]
        if crds:
            # A definition as new as this may have no conditions yet, which the second wait takes for an error.
            self.kubectl("wait", "--for=jsonpath={.status.conditions}", *crds, f"--timeout={SERVED_SECONDS}s")
            self.kubectl("wait", "--for=condition=Established", *crds, f"--timeout={SERVED_SECONDS}s")
        for crd in crds:
            self._wait_until_served(crd.removeprefix("crd/"))

    def kinds(self) -> set[str]:
        """Return the names of the CRDs that there are."""
        crds = self.request("GET", CRDS)["items"]
        return {crd["metadata"]["name"] for crd in crds}

    def _wait_until_served(self, name: str) -> None:
        """What an established definition defines may still be not found, or be loading, for a moment."""
        spec = self.request("GET", f"{CRDS}/{name}")["spec"]
        path = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}?limit=1"
        deadline = time.monotonic() + SERVED_SECONDS
        while True:
            try:
                self.request("GET", path)
            except Refused as refusal:
                if refusal.code not in (404, 429, 503) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

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
