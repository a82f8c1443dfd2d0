"""The port of a cluster over a Kubernetes API server, in plain JSON: no typed models, which would refuse a newer server's fields.

Nothing is tried again here: whoever calls knows how long to wait. Not covered: tokens that a kubeconfig's plugin has to renew.
"""

import os
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

import rehearsal
from rehearsal.cluster.api_errors import NotServed, error_of
from rehearsal.cluster.port import API_VERSIONS, AlreadyExists, Invalid, Manifest, Manifests, NotFound, Unavailable
from rehearsal.cluster.stamps import now, stamp
from rehearsal.outside.json_text import read_own_json

OnCall = Callable[[str, str, int], None]
"""Told of every request: its verb and kind as RBAC has them (`patch`, `ReconstructionRun/status`), and the HTTP status; 0: none came."""

_OPTIONAL = {"Workload"}
_CONNECTIONS = 32
_PAGE = 200
"""Objects a list answer: 200 pods are some 4 MB of JSON, and several times that while they are read."""
_SECONDS = 30.0
_LOG_SECONDS = 5.0
"""A log is read through the kubelet of a node that may be gone."""
_LOG_BYTES = 1 << 16
_JSON = "application/json"
_USER_AGENT = f"rehearsal/{rehearsal.__version__}"


class KubernetesCluster:
    """`async with KubernetesCluster(...) as cluster`; `timeout` is that of one request, in seconds.

    The server is that of `kubeconfig`, or else of $KUBECONFIG, of the pod's service account, or of ~/.kube/config.
    """

    def __init__(self, kubeconfig: Path | None = None, on_call: OnCall = lambda *_: None, timeout: float = _SECONDS) -> None:
        self._kubeconfig, self._on_call, self._timeout = kubeconfig, on_call, timeout

    async def __aenter__(self) -> Self:
        try:
            configuration = await _configuration(self._kubeconfig)
        except (config.ConfigException, OSError) as error:
            raise Unavailable(f"no cluster to talk to: {error}") from error
        configuration.connection_pool_maxsize = _CONNECTIONS
        self._client = ApiClient(configuration)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._client.close()

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return the object, or None."""
        try:
            return await self._json(_Request("get", kind, _path(kind, namespace, name)))
        except NotFound:
            return None

    async def list(self, kind: str, namespace: str | None, labels: Mapping[str, str]) -> Manifests:
        """Return the objects of a namespace (None: of all) that carry all these labels, oldest first."""
        items = [item async for page in self.pages(kind, namespace, labels) for item in page]
        return sorted(items, key=lambda item: (item["metadata"]["creationTimestamp"], item["metadata"]["name"]))

    async def pages(self, kind: str, namespace: str | None, labels: Mapping[str, str]) -> AsyncIterator[Manifests]:
        """Yield what `list` returns, some at a time and in no order, all as of one moment not before the first request."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        async for page in self._pages(kind, namespace, {"labelSelector": selector} if selector else {}):
            yield page

    async def create(self, manifest: Manifest) -> Manifest:
        """Create the object and return it as stored, or raise AlreadyExists or Invalid."""
        kind = manifest.get("kind", "")
        if manifest.get("apiVersion") != API_VERSIONS.get(kind):
            raise Invalid(f"kind: {manifest.get('apiVersion')} {kind} is not known to this release")
        path = _path(kind, manifest["metadata"].get("namespace", "default"))
        return await self._json(_Request("create", kind, path, method="POST", body=manifest))

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete the object of that UID, and in the background what it owns. One that is gone is fine; another UID is a Conflict."""
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        with suppress(NotFound):
            await self._ask(_Request("delete", kind, _path(kind, namespace, name), method="DELETE", body=options))

    async def patch_status(self, kind: str, namespace: str, name: str, status: Manifest, resource_version: str) -> Manifest:
        """Apply a JSON merge patch to the status and return the object. Raises NotFound, and Conflict on a stale version."""
        patch = {"metadata": {"resourceVersion": resource_version}, "status": status}
        path = f"{_path(kind, namespace, name)}/status"
        merge = "application/merge-patch+json"
        return await self._json(_Request("patch", f"{kind}/status", path, method="PATCH", body=patch, content_type=merge))

    async def pods(self, namespace: str, job_uid: str) -> Manifests:
        """Return the pods that the Job of that UID controls, oldest first."""
        return await self.list("Pod", namespace, {"batch.kubernetes.io/controller-uid": job_uid})

    async def events(self, namespace: str, uid: str) -> Manifests:
        """Return the events about the object of that UID, oldest first: in the order in which they last happened."""
        query = {"fieldSelector": f"involvedObject.uid={uid}"}
        items = [item async for page in self._pages("Event", namespace, query) for item in page]
        return sorted(items, key=lambda item: int(item["metadata"]["resourceVersion"]))

    async def emit(self, event: Manifest) -> None:
        """Record an event. One of the same name that is there already is this one."""
        about, at = event["involvedObject"], stamp(now())
        metadata = {"name": f"{about['name'][:200]}.{uuid.uuid4().hex[:16]}", "namespace": about.get("namespace", "default")}
        told = {"source": {"component": "rehearsal"}, "firstTimestamp": at, "lastTimestamp": at, "count": 1, **event}
        told |= {"apiVersion": API_VERSIONS["Event"], "kind": "Event", "metadata": metadata | event.get("metadata", {})}
        with suppress(AlreadyExists):
            await self.create(told)

    async def log_tail(self, namespace: str, pod: str, container: str, lines: int) -> str:
        """Return the last lines of a container's log, fewer where they are too long to read; empty before it has started."""
        path = f"{_path('Pod', namespace, pod)}/log"
        while True:
            query = {"container": container, "tailLines": str(lines), "limitBytes": str(_LOG_BYTES)}
            try:
                log = await self._ask(_Request("get", "Pod/log", path, query, timeout=_LOG_SECONDS))
            except Invalid:  # 400: the container waits to start
                return ""
            # The limit counts from the first of these lines, so it is the last ones that are cut off.
            if len(log) < _LOG_BYTES or lines <= 1:
                return log.decode(errors="replace")
            lines //= 2

    async def _pages(self, kind: str, namespace: str | None, query: Mapping[str, str]) -> AsyncIterator[Manifests]:
        """Without a resourceVersion in the query, a list is at least as new as every answer before it; 410, it grew too old, is raised."""
        query = {"limit": str(_PAGE), **query}
        while True:
            try:
                answer = await self._json(_Request("list", kind, _path(kind, namespace), query))
            except NotServed:
                if kind in _OPTIONAL:
                    return
                raise
            # Only a list as a whole is told what it is a list of.
            yield [{"apiVersion": API_VERSIONS[kind], "kind": kind} | item for item in answer.pop("items") or ()]
            if not (rest := answer["metadata"].get("continue")):
                return
            query["continue"] = rest

    async def _json(self, request: "_Request") -> Manifest:
        answer = await self._ask(request)
        try:
            manifest: Manifest = read_own_json(answer)
        except ValueError as error:
            raise Unavailable(f"{request.verb} {request.kind}: the answer is not JSON: {answer[:100]!r}") from error
        return manifest

    async def _ask(self, request: "_Request") -> bytes:
        """Return the body of the answer, or raise what the answer, or its absence, stands for."""
        verb, kind, code = request.verb, request.kind, 0
        url = f"{self._client.configuration.host}{request.path}" + (f"?{urlencode(request.query)}" if request.query else "")
        headers = {"Accept": "*/*" if kind == "Pod/log" else _JSON, "Content-Type": request.content_type, "User-Agent": _USER_AGENT}
        limit = aiohttp.ClientTimeout(total=min(request.timeout, self._timeout))
        try:
            await self._client.update_params_for_auth(headers, [], ["BearerToken"], request.path, request.method, None)
            response = await self._client.rest_client.request(
                request.method, url, headers=headers, body=request.body, _request_timeout=limit
            )
            answer: bytes = await response.read()
            code = response.status
        except (aiohttp.ClientError, TimeoutError, OSError, config.ConfigException) as error:
            raise Unavailable(f"{verb} {kind}: {str(error) or 'no answer in time'}") from error
        finally:
            self._on_call(verb, kind, code)
        if code // 100 != 2:
            raise error_of(verb, kind, code, answer, response.getheader("Retry-After"))
        return answer


@dataclass(frozen=True)
class _Request:
    """One call: what it is to RBAC, and what it is to HTTP."""

    verb: str
    kind: str
    path: str
    query: Mapping[str, str] | None = None
    method: str = "GET"
    body: Manifest | None = None
    content_type: str = _JSON
    timeout: float = _SECONDS


async def _configuration(kubeconfig: Path | None) -> Configuration:
    configuration = Configuration()
    named = kubeconfig or os.environ.get("KUBECONFIG")
    if not named and "KUBERNETES_SERVICE_HOST" in os.environ:
        config.load_incluster_config(client_configuration=configuration)
    else:
        path = str(named or Path.home() / ".kube" / "config")
        await config.load_kube_config(config_file=path, client_configuration=configuration, persist_config=False)
    return configuration


def _path(kind: str, namespace: str | None, name: str = "") -> str:
    version = API_VERSIONS[kind]
    group = f"/apis/{version}" if "/" in version else f"/api/{version}"
    room = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"{group}{room}/{kind.lower()}s" + (f"/{quote(name, safe='')}" if name else "")
