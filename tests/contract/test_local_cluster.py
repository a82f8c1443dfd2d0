"""Jobs carried out by real processes: what a Job and its pods come to on the local cluster."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from rehearsal.cluster.fields import UnsupportedField
from rehearsal.cluster.local import Capacity, LocalCluster
from rehearsal.cluster.port import Invalid
from tests.contract.cluster_jobs import (
    NAMESPACE,
    finished,
    job_of,
    outcome,
    python,
    run_of,
    shell,
    sidecar,
    terminated,
    too_big,
    until,
)

ENGINE = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(str(os.getpid()).encode())
http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['ENGINE_PORT'])), Handler).serve_forever()
"""
ASK = "import os, urllib.request as r; ask = lambda: r.urlopen('http://127.0.0.1:' + os.environ['ENGINE_PORT']).read().decode();"
TMP = "/tmp"  # noqa: S108 - inside the pod
PORT = [{"name": "ENGINE_PORT", "value": "8000"}]


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[LocalCluster]:
    async with LocalCluster(tmp_path / "state", Capacity(cpu=4, memory=8 << 30, devices={"nvidia.com/gpu": 4}), 0.1) as opened:
        yield opened


async def pods_of(cluster: LocalCluster, job: dict) -> list[dict]:
    return await cluster.pods(NAMESPACE, job["metadata"]["uid"])


async def test_a_job_completes_and_says_so_as_kubernetes_does(cluster):
    await cluster.create(job_of(shell("echo one; echo two; echo three")))
    job = await finished(cluster)
    assert outcome(job) == ("Complete", "CompletionsReached")
    assert job["status"]["succeeded"] == 1
    assert {"active", "failed"}.isdisjoint(job["status"])
    assert job["status"]["startTime"] <= job["status"]["completionTime"]
    (pod,) = await pods_of(cluster, job)
    assert pod["status"]["phase"] == "Succeeded"
    assert (terminated(pod)["exitCode"], terminated(pod)["reason"]) == (0, "Completed")
    assert await cluster.log_tail(NAMESPACE, pod["metadata"]["name"], "main", 2) == "two\nthree\n"


async def test_every_index_has_a_pod_of_its_own(cluster):
    script = 'echo "index $JOB_COMPLETION_INDEX"'
    await cluster.create(job_of(shell(script), completionMode="Indexed", completions=3, parallelism=2))
    job = await finished(cluster)
    assert job["status"]["completedIndexes"] == "0-2"
    pods = await pods_of(cluster, job)
    logs = [await cluster.log_tail(NAMESPACE, pod["metadata"]["name"], "main", 1) for pod in pods]
    assert sorted(logs) == ["index 0\n", "index 1\n", "index 2\n"]


async def test_a_fatal_exit_code_fails_the_job_at_once_and_ends_the_other_pods(cluster):
    script = '[ "$JOB_COMPLETION_INDEX" = 1 ] && exit 64; exec sleep 60'
    await cluster.create(job_of(shell(script), completionMode="Indexed", completions=2, parallelism=2))
    job = await finished(cluster)
    assert outcome(job) == ("Failed", "PodFailurePolicy")
    (pod,) = await pods_of(cluster, job)
    words = (
        f"Container main for pod {NAMESPACE}/{pod['metadata']['name']} failed with exit code 64 matching FailJob rule at index 1"
    )
    assert job["status"]["conditions"][0]["message"] == words


async def test_an_exit_code_without_a_rule_is_counted_and_tried_again_up_to_the_limit(cluster):
    await cluster.create(job_of(shell("exit 69"), backoffLimit=2))
    job = await finished(cluster)
    assert outcome(job) == ("Failed", "BackoffLimitExceeded")
    assert job["status"]["failed"] == 3
    assert [terminated(pod)["exitCode"] for pod in await pods_of(cluster, job)] == [69, 69, 69]


async def test_a_job_outlives_failures_within_its_limit(cluster, tmp_path):
    tried = tmp_path / "tried"
    await cluster.create(job_of(shell(f"[ -e {tried} ] || {{ touch {tried}; exit 70; }}")))
    job = await finished(cluster)
    assert outcome(job) == ("Complete", "CompletionsReached")
    assert (job["status"]["succeeded"], job["status"]["failed"]) == (1, 1)


async def test_init_containers_run_one_after_another_and_a_failure_ends_the_pod(cluster, tmp_path):
    trace = tmp_path / "trace"
    steps = tuple(shell(f"sleep 0.1; echo {name} >> {trace}", name) for name in ("first", "second"))
    await cluster.create(job_of(shell(f"echo main >> {trace}"), init=steps))
    await finished(cluster)
    assert trace.read_text().split() == ["first", "second", "main"]

    await cluster.create(job_of(shell(f"echo never >> {trace}"), "broken", (shell("exit 5", "first"), *steps), backoffLimit=0))
    job = await finished(cluster, "broken")
    assert outcome(job) == ("Failed", "BackoffLimitExceeded")
    assert trace.read_text().split() == ["first", "second", "main"]
    (pod,) = await pods_of(cluster, job)
    assert terminated(pod, "initContainerStatuses")["exitCode"] == 5
    assert pod["status"]["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}


async def test_a_sidecar_gates_the_main_container_and_ends_after_it(cluster, tmp_path):
    trace = tmp_path / "trace"
    end = f"import signal, sys; signal.signal(15, lambda *_: (open({str(trace)!r}, 'a').write('engine ended'), sys.exit(0)));"
    engine = sidecar(f"{end} import time; time.sleep(0.3)\n{ENGINE}")
    main = python(f"{ASK} ask(); open({str(trace)!r}, 'a').write('main ended, ')", env=PORT)
    await cluster.create(job_of(main, init=(engine,)))
    job = await finished(cluster)
    assert outcome(job) == ("Complete", "CompletionsReached"), await pods_of(cluster, job)
    assert trace.read_text() == "main ended, engine ended"


async def test_a_sidecar_that_dies_is_started_again(cluster):
    killer = """
import signal, time
first = int(ask()); os.kill(first, signal.SIGKILL)
while True:
    try:
        if int(ask()) != first: break
    except OSError: time.sleep(0.05)
"""
    await cluster.create(job_of(python(ASK + killer, env=PORT), init=(sidecar(ENGINE),)))
    job = await finished(cluster)
    assert outcome(job) == ("Complete", "CompletionsReached")
    (pod,) = await pods_of(cluster, job)
    engine = pod["status"]["initContainerStatuses"][0]
    assert engine["restartCount"] == 1
    assert engine["lastState"]["terminated"]["exitCode"] == 137


async def test_a_sidecar_that_never_comes_up_is_ended_and_says_why_it_waits(cluster):
    await cluster.create(job_of(shell("true"), init=(sidecar("import time; time.sleep(60)", failures=1),)))

    async def waiting():
        (pod,) = await cluster.list("Pod", NAMESPACE, {}) or [{}]
        states = pod.get("status", {}).get("initContainerStatuses", [{"state": {}}])
        return states[0] if "reason" in states[0]["state"].get("waiting", {}) and states[0]["lastState"] else None

    engine = await until(waiting)
    assert engine["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert engine["lastState"]["terminated"]["exitCode"] == 143


async def test_an_exec_probe_runs_in_the_containers_own_environment(cluster):
    engine = shell("sleep 0.2; touch /scratch/up; exec sleep 60", "engine", restartPolicy="Always")
    engine |= {"startupProbe": {"exec": {"command": ["test", "-e", "/scratch/up"]}, "periodSeconds": 1}}
    engine["command"] = ["python", "-S", "-c", "import sys, time; open(sys.argv[1], 'w'); time.sleep(60)", "/scratch/up"]
    engine["volumeMounts"] = [{"name": "scratch", "mountPath": "/scratch"}]
    await cluster.create(job_of(shell("true"), init=(engine,), pod={"volumes": [{"name": "scratch", "emptyDir": {}}]}))
    assert outcome(await finished(cluster)) == ("Complete", "CompletionsReached")


async def test_volumes_are_shared_by_a_pods_containers_and_gone_with_it(cluster):
    mounts = [{"name": name, "mountPath": path} for name, path in {"task": "/task", "model": "/model", "tmp": TMP}.items()]
    item = {"path": "task.json", "fieldRef": {"fieldPath": "metadata.annotations['rehearsal.dev/task']"}}
    volumes = [
        {"name": "task", "downwardAPI": {"items": [item]}},
        {"name": "model", "emptyDir": {"sizeLimit": "1Gi"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    load = {**shell('cp "$0" "$1"', "load", volumeMounts=mounts), "args": ["/task/task.json", "/model/weights"]}
    say = "open(sys.argv[2], 'w').write(json.dumps([open(sys.argv[1]).read(), e['DIR'], e['TMPDIR'], e['HOME']]))"
    show = f"import json, os, sys; e = os.environ; {say}"
    main = python(show, volumeMounts=mounts, env=[{"name": "DIR", "value": "/model"}, {"name": "TMPDIR", "value": TMP}])
    await cluster.create(
        job_of(main | {"args": ["/model/weights", "/dev/termination-log"]}, init=(load,), pod={"volumes": volumes})
    )
    job = await finished(cluster)
    (pod,) = await pods_of(cluster, job)
    task, *folders = json.loads(terminated(pod)["message"])
    assert task == "the task"
    assert not any(Path(folder).exists() for folder in folders)
    assert len(folders[1]) < 60


async def test_a_termination_message_is_kept_up_to_its_limit(cluster):
    main = python("import sys; open(sys.argv[1], 'w').write('x' * 5000)", terminationMessagePath="/last/word", args=["/last/word"])
    await cluster.create(job_of(main))
    (pod,) = await pods_of(cluster, await finished(cluster))
    assert terminated(pod)["message"] == "x" * 4096


async def test_the_end_of_the_log_stands_in_for_a_message_where_that_is_asked_for(cluster):
    await cluster.create(job_of(shell("echo why; exit 3", terminationMessagePolicy="FallbackToLogsOnError"), backoffLimit=0))
    (pod,) = await pods_of(cluster, await finished(cluster))
    assert terminated(pod)["message"] == "why\n"


async def test_a_command_that_cannot_be_executed_fails_with_words_in_the_log(cluster):
    await cluster.create(job_of({"name": "main", "command": ["no-such-program"]}, backoffLimit=0))
    (pod,) = await pods_of(cluster, await finished(cluster))
    assert terminated(pod)["exitCode"] == 128
    log = await cluster.log_tail(NAMESPACE, pod["metadata"]["name"], "main", 5)
    assert log == "exec 'no-such-program': No such file or directory\n"


async def test_a_pod_that_does_not_fit_waits_and_says_why(cluster, tmp_path):
    go = tmp_path / "go"
    big = {"resources": {"requests": {"cpu": "3", "memory": "1Gi"}}}
    await cluster.create(job_of(shell(f"until [ -e {go} ]; do sleep 0.02; done", **big), "first"))
    await cluster.create(job_of(shell("true", **big), "second"))
    assert await refusal(cluster, "second") == "0/1 nodes are available: 1 Insufficient cpu."
    go.touch()
    assert outcome(await finished(cluster, "second")) == ("Complete", "CompletionsReached")


async def test_a_pod_that_could_never_fit_says_so_and_holds_up_no_other(cluster):
    await cluster.create(job_of(too_big(), "first"))
    await cluster.create(job_of(shell("true"), "second"))
    never = "It can never start on this machine: it asks for cpu 4000 of 4."
    assert await refusal(cluster, "first") == f"0/1 nodes are available: 1 Insufficient cpu. {never}"
    assert outcome(await finished(cluster, "second")) == ("Complete", "CompletionsReached")


async def test_pods_side_by_side_see_devices_of_their_own(cluster, tmp_path):
    both = f"touch {tmp_path}/$JOB_COMPLETION_INDEX; until [ -e {tmp_path}/0 ] && [ -e {tmp_path}/1 ]; do sleep 0.02; done"
    main = shell(f"{both}; echo $CUDA_VISIBLE_DEVICES", resources={"limits": {"nvidia.com/gpu": "2"}})
    await cluster.create(job_of(main, completionMode="Indexed", completions=2, parallelism=2))
    pods = await pods_of(cluster, await finished(cluster))
    logs = {await cluster.log_tail(NAMESPACE, pod["metadata"]["name"], "main", 1) for pod in pods}
    assert logs == {"0,1\n", "2,3\n"}


async def test_a_job_over_its_deadline_fails_and_its_pods_end(cluster):
    await cluster.create(job_of(shell("exec sleep 60"), activeDeadlineSeconds=1))
    job = await finished(cluster)
    assert outcome(job) == ("Failed", "DeadlineExceeded")
    assert await pods_of(cluster, job) == []


async def test_a_finished_job_goes_after_its_time_but_its_log_stays_until_the_run_is_removed(cluster):
    run = await cluster.create(run_of("first"))
    job = await cluster.create(job_of(shell("echo hello"), owner=run, ttlSecondsAfterFinished=1))
    (pod,) = await until(lambda: pods_of(cluster, job))

    async def gone():
        return not await cluster.list("Job", NAMESPACE, {}) and not await cluster.list("Pod", NAMESPACE, {})

    await until(gone)
    assert await cluster.log_tail(NAMESPACE, pod["metadata"]["name"], "main", 1) == "hello\n"
    await cluster.delete("ReconstructionRun", NAMESPACE, "first", run["metadata"]["uid"])
    with pytest.raises(Exception, match="does not exist"):
        await cluster.log_tail(NAMESPACE, pod["metadata"]["name"], "main", 1)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"pod": {"hostNetwork": True}}, "spec.template.spec.hostNetwork"),
        ({"pod": {"nodeSelector": {"gpu": "h100"}}}, "spec.template.spec.nodeSelector"),
        ({"suspend": True}, "spec.suspend"),
        ({"completionMode": "Striped"}, "spec.completionMode"),
    ],
)
async def test_a_field_that_processes_cannot_honour_is_refused_by_its_path(cluster, change, path):
    with pytest.raises(UnsupportedField) as refused:
        await cluster.create(job_of(shell("true"), **change))
    assert str(refused.value).startswith(f"{path}: ")
    assert await cluster.list("Job", NAMESPACE, {}) == []


async def test_a_service_by_which_nodes_would_find_each_other_is_refused(cluster):
    with pytest.raises(Invalid, match="one machine has no Services"):
        await cluster.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "ranks", "namespace": NAMESPACE}})


async def test_applying_a_changed_spec_makes_a_new_generation_and_keeps_the_status(cluster):
    run = await cluster.apply(run_of("first"))
    await cluster.patch_status("ReconstructionRun", NAMESPACE, "first", {"phase": "Running"}, run["metadata"]["resourceVersion"])
    same = await cluster.apply(run_of("first"))
    assert same["metadata"]["generation"] == 1
    changed = await cluster.apply(run_of("first", {"seed": 1}))
    assert (changed["metadata"]["generation"], changed["spec"], changed["status"]) == (2, {"seed": 1}, {"phase": "Running"})
    assert changed["metadata"]["uid"] == run["metadata"]["uid"]


async def test_objects_outlive_the_command_and_can_be_read_without_it(tmp_path):
    async with LocalCluster(tmp_path, Capacity(cpu=1, memory=1 << 30)) as cluster:
        created = await cluster.apply(run_of("first"))
    assert LocalCluster.recorded(tmp_path, "ReconstructionRun", NAMESPACE, "first") == created
    assert LocalCluster.recorded(tmp_path, "ReconstructionRun", NAMESPACE, "second") is None
    async with LocalCluster(tmp_path, Capacity(cpu=1, memory=1 << 30)) as cluster:
        assert await cluster.get("ReconstructionRun", NAMESPACE, "first") == created


async def refusal(cluster: LocalCluster, name: str) -> str:
    async def words():
        for pod in await cluster.list("Pod", NAMESPACE, {"batch.kubernetes.io/job-name": name}):
            for condition in pod["status"].get("conditions", ()):
                if condition["reason"] == "Unschedulable":
                    return condition["message"]
        return None

    return await until(words)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("turns", range(6))
async def test_leaving_in_the_moment_of_a_change_ends_at_once(tmp_path: Path, turns: int) -> None:
    async with LocalCluster(tmp_path / "state", Capacity(cpu=1, memory=2**30)) as cluster:
        await cluster.create(job_of(shell("true"), ttlSecondsAfterFinished=3600))
        await finished(cluster)
        for _ in range(10):
            await asyncio.sleep(0)  # its own work is waiting for a change by now, or for the Job's end of life
        await cluster.apply(run_of("medical"))
        for _ in range(turns):
            await asyncio.sleep(0)
