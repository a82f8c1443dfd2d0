"""What the adapter asks of an API server, request by request."""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from rehearsal.cluster.kubernetes import KubernetesCluster
from tests.unit.cluster.api_server import TOKEN, ApiServer, adapter


@pytest.fixture
def server() -> ApiServer:
    return ApiServer()


@pytest.fixture
def calls() -> list[tuple[str, str, int]]:
    return []


@pytest_asyncio.fixture
async def cluster(server, calls, tmp_path) -> AsyncIterator[KubernetesCluster]:
    async with adapter(server, tmp_path, on_call=lambda *call: calls.append(call)) as opened:
        yield opened


async def test_an_object_is_asked_for_by_its_path_and_with_the_users_token(server, cluster):
    server.body = {"kind": "ReconstructionRun"}
    assert await cluster.get("ReconstructionRun", "research", "first") == {"kind": "ReconstructionRun"}
    (request,) = server.requests
    assert request.path == "/apis/rehearsal.dev/v1alpha1/namespaces/research/reconstructionruns/first"
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert request.headers["User-Agent"].startswith("rehearsal/")


async def test_a_long_list_is_read_page_by_page_and_returned_oldest_first(server, cluster):
    def item(name: str, second: int) -> dict[str, object]:
        return {"metadata": {"name": name, "creationTimestamp": f"2026-01-01T00:00:0{second}Z"}}

    async def two_pages(request: web.Request) -> web.Response:
        if request.query.get("continue") == "more=":
            return web.json_response({"metadata": {}, "items": [item("a", 1)]})
        return web.json_response({"metadata": {"continue": "more="}, "items": [item("c", 2), item("b", 1)]})

    server.handler = two_pages
    pods = await cluster.list("Pod", None, {"a/b": "c", "d": "e"})
    assert [pod["metadata"]["name"] for pod in pods] == ["a", "b", "c"]
    assert all((pod["apiVersion"], pod["kind"]) == ("v1", "Pod") for pod in pods)
    assert [request.path for request in server.requests] == ["/api/v1/pods"] * 2
    assert {request.query["labelSelector"] for request in server.requests} == {"a/b=c,d=e"}
    assert {request.query["limit"] for request in server.requests} == {"200"}


async def test_a_list_is_never_served_from_the_past(server, cluster):
    server.body = {"metadata": {}, "items": None}
    assert await cluster.list("Job", "research", {}) == []
    assert "resourceVersion" not in server.requests[0].query


async def test_a_delete_is_of_one_uid_and_of_what_it_owns_in_the_background(server, cluster):
    await cluster.delete("Job", "research", "elicit", "uid-1")
    assert server.requests[0].method == "DELETE"
    assert server.bodies == [{"preconditions": {"uid": "uid-1"}, "propagationPolicy": "Background"}]


async def test_a_status_is_a_merge_patch_that_carries_the_version_it_was_made_from(server, cluster):
    await cluster.patch_status("ReconstructionRun", "research", "first", {"phase": None}, "41")
    (request,) = server.requests
    assert request.method == "PATCH"
    assert request.path.endswith("/reconstructionruns/first/status")
    assert request.content_type == "application/merge-patch+json"
    assert server.bodies == [{"metadata": {"resourceVersion": "41"}, "status": {"phase": None}}]


async def test_an_event_gets_a_name_and_the_instants_that_kubectl_shows(server, cluster):
    about = {"kind": "ReconstructionRun", "namespace": "research", "name": "first", "uid": "u"}
    await cluster.emit({"involvedObject": about, "type": "Normal", "reason": "Started", "message": "m"})
    (event,) = server.bodies
    assert server.requests[0].path == "/api/v1/namespaces/research/events"
    assert event["metadata"]["name"].startswith("first.")
    assert event["firstTimestamp"] == event["lastTimestamp"]
    assert event["reason"] == "Started"


async def test_an_event_of_a_given_name_is_told_once(server, cluster):
    server.refuse(409, "AlreadyExists")
    about = {"kind": "ReconstructionRun", "namespace": "research", "name": "first", "uid": "u"}
    await cluster.emit({"metadata": {"name": "first.started", "namespace": "research"}, "involvedObject": about})
    assert server.bodies[0]["metadata"]["name"] == "first.started"


async def test_a_container_that_waits_to_start_has_an_empty_log(server, cluster):
    server.refuse(400, "BadRequest", 'container "main" in pod "p" is waiting to start: PodInitializing')
    assert await cluster.log_tail("research", "p", "main", 5) == ""


async def test_the_last_line_of_a_log_is_returned_however_long_the_lines_before_it_are(server, cluster):
    lines = ["x" * 30_000, "y" * 30_000, "z" * 30_000, "the last"]

    async def log(request: web.Request) -> web.Response:
        tail = "\n".join(lines[-int(request.query["tailLines"]) :])
        return web.Response(text=tail[: int(request.query["limitBytes"])])

    server.handler = log
    assert (await cluster.log_tail("research", "p", "main", 4)).splitlines() == lines[2:]


async def test_every_call_is_counted_by_verb_kind_and_status(server, cluster, calls):
    server.body = {"metadata": {}, "items": []}
    await cluster.list("Pod", None, {})
    server.refuse(404, "NotFound", details={"name": "p"})
    await cluster.get("Job", "research", "p")
    server.code, server.body = 200, json.dumps("line")
    await cluster.log_tail("research", "p", "main", 5)
    assert calls == [("list", "Pod", 200), ("get", "Job", 404), ("get", "Pod/log", 200)]
