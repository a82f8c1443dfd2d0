"""Every way in which an API server does not do what was asked, as the error of the port that the caller acts upon."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from rehearsal.cluster.kubernetes import KubernetesCluster
from rehearsal.cluster.port import AlreadyExists, Conflict, Forbidden, Invalid, NotFound, Unavailable
from tests.unit.cluster.api_server import TOKEN, ApiServer, adapter, kubeconfig_for

JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "elicit", "namespace": "research"}, "spec": {}}


@pytest.fixture
def server() -> ApiServer:
    return ApiServer()


@pytest_asyncio.fixture
async def cluster(server, tmp_path) -> AsyncIterator[KubernetesCluster]:
    async with adapter(server, tmp_path, timeout=60) as opened:
        yield opened


@pytest.mark.fault(13)
async def test_a_refused_connection_is_unavailable(tmp_path):
    calls: list[tuple[str, str, int]] = []
    kubeconfig = kubeconfig_for("http://127.0.0.1:1", tmp_path)
    async with KubernetesCluster(kubeconfig, on_call=lambda *call: calls.append(call)) as cluster:
        with pytest.raises(Unavailable, match=r"get Job: .*127\.0\.0\.1"):
            await cluster.get("Job", "research", "elicit")
    assert calls == [("get", "Job", 0)]


@pytest.mark.fault(13)
async def test_a_server_that_hangs_is_unavailable_after_the_timeout(server, tmp_path):
    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    server.handler = hang
    async with adapter(server, tmp_path, timeout=0.1) as cluster:
        with pytest.raises(Unavailable, match="list Job: "):
            await cluster.list("Job", "research", {})


@pytest.mark.fault(13)
async def test_an_answer_that_stops_halfway_is_unavailable(server, tmp_path):
    async def stop_halfway(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b'{"metadata":')
        return response

    server.handler = stop_halfway
    async with adapter(server, tmp_path, timeout=1) as cluster:
        with pytest.raises(Unavailable):
            await cluster.get("Job", "research", "elicit")


@pytest.mark.fault(13)
@pytest.mark.parametrize("code", [500, 502, 503, 504])
async def test_a_broken_server_is_unavailable(server, cluster, code):
    server.code, server.body = code, "etcdserver: leader changed"
    with pytest.raises(Unavailable, match="create Job: etcdserver: leader changed") as told:
        await cluster.create(JOB)
    assert told.value.retry_after is None


@pytest.mark.fault(13)
async def test_a_page_of_a_proxy_is_neither_an_object_nor_its_absence(server, cluster):
    server.code, server.body = 404, "<html>no such site</html>"
    with pytest.raises(Unavailable):
        await cluster.get("ReconstructionRun", "research", "first")
    server.code, server.body = 200, "<html>please log in</html>"
    with pytest.raises(Unavailable, match="not JSON"):
        await cluster.get("ReconstructionRun", "research", "first")


@pytest.mark.fault(14)
@pytest.mark.parametrize("code", [429, 503])
async def test_a_server_that_asks_for_patience_says_for_how_long(server, cluster, code):
    server.refuse(code, "TooManyRequests", **{"Retry-After": "7"})
    with pytest.raises(Unavailable) as told:
        await cluster.list("Pod", None, {})
    assert told.value.retry_after == 7.0


async def test_a_date_to_come_back_at_is_left_to_the_callers_back_off(server, cluster):
    server.refuse(429, "TooManyRequests", **{"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"})
    with pytest.raises(Unavailable) as told:
        await cluster.get("Job", "research", "elicit")
    assert told.value.retry_after is None


async def test_an_expired_token_is_unavailable_for_it_may_be_renewed(server, cluster):
    server.refuse(401, "Unauthorized", "Unauthorized")
    with pytest.raises(Unavailable, match="Unauthorized"):
        await cluster.get("Job", "research", "elicit")


@pytest.mark.fault(15)
async def test_what_is_forbidden_names_the_verb_and_the_kind(server, cluster):
    server.refuse(403, "Forbidden", 'jobs.batch is forbidden: User "x" cannot create')
    with pytest.raises(Forbidden, match=r"^may not create Job: jobs\.batch is forbidden"):
        await cluster.create(JOB)
    with pytest.raises(Forbidden, match=r"^may not patch ReconstructionRun/status: "):
        await cluster.patch_status("ReconstructionRun", "research", "first", {}, "1")
    with pytest.raises(Forbidden, match=r"^may not get Pod/log: "):
        await cluster.log_tail("research", "pod", "main", 5)


async def test_what_is_not_found_is_none_or_gone_or_an_error_by_what_was_asked(server, cluster):
    server.refuse(404, "NotFound", 'jobs.batch "elicit" not found', {"name": "elicit", "kind": "jobs"})
    assert await cluster.get("Job", "research", "elicit") is None
    await cluster.delete("Job", "research", "elicit", "uid")
    with pytest.raises(NotFound):
        await cluster.patch_status("ReconstructionRun", "research", "first", {}, "1")
    with pytest.raises(NotFound):
        await cluster.log_tail("research", "pod", "main", 5)


async def test_a_kind_that_is_not_installed_is_not_an_empty_world(server, cluster):
    server.refuse(404, "NotFound", "the server could not find the requested resource")
    with pytest.raises(Unavailable, match="is ReconstructionRun installed"):
        await cluster.list("ReconstructionRun", None, {})


async def test_without_kueue_there_are_no_workloads(server, cluster):
    server.code, server.body = 404, "404 page not found"
    assert await cluster.list("Workload", "research", {}) == []
    assert server.requests[0].path == "/apis/kueue.x-k8s.io/v1beta2/namespaces/research/workloads"


async def test_a_name_that_is_taken_is_told_from_a_version_that_is_stale(server, cluster):
    server.refuse(409, "AlreadyExists")
    with pytest.raises(AlreadyExists):
        await cluster.create(JOB)
    server.refuse(409, "Conflict")
    for call in (cluster.create(JOB), cluster.delete("Job", "a", "b", "c"), cluster.patch_status("Job", "a", "b", {}, "1")):
        with pytest.raises(Conflict):
            await call


async def test_an_invalid_manifest_is_told_by_the_paths_of_its_fields(server, cluster):
    causes = [{"field": "spec.template.spec.containers", "message": "Required value"}, {"field": "spec.x", "message": "bad"}]
    server.refuse(422, "Invalid", 'Job.batch "elicit" is invalid: ...', {"name": "elicit", "causes": causes})
    with pytest.raises(Invalid, match=r"^spec\.template\.spec\.containers: Required value; spec\.x: bad$"):
        await cluster.create(JOB)


async def test_a_list_that_grew_too_old_between_two_pages_is_read_again_by_the_caller(server, cluster):
    server.refuse(410, "Expired", "the provided continue parameter is too old")
    with pytest.raises(Unavailable, match="too old"):
        await cluster.list("Job", None, {})


async def test_without_a_cluster_to_talk_to_it_says_so(tmp_path):
    with pytest.raises(Unavailable, match="no cluster to talk to"):
        async with KubernetesCluster(tmp_path / "nothing"):
            pass


async def test_no_error_or_log_line_holds_the_operators_token(server, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    told: list[str] = []

    async def hang_up(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        assert request.transport
        request.transport.close()
        return web.Response()

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=500, text="<html>no</html>")

    for handler in (hang_up, refuse):
        server.handler = handler
        async with adapter(server, tmp_path, timeout=60) as cluster:
            for ask in (cluster.get("Job", "research", "elicit"), cluster.create(JOB), cluster.list("Job", "research", {})):
                with pytest.raises(Unavailable) as caught:
                    await ask
                told += traceback.format_exception(caught.value)
    everything = "".join([*told, caplog.text, *capfd.readouterr()])
    assert "Unavailable" in everything
    assert TOKEN not in everything
