"""No process, port or temporary folder outlives its container, its Job or the command, whoever of them is killed."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import pytest_asyncio

from rehearsal.cluster.local import Capacity, LocalCluster
from rehearsal.cluster.port import Unavailable
from rehearsal.cluster.takeover import StateInUse
from tests.contract.cluster_jobs import NAMESPACE, finished, job_of, outcome, python, sidecar, terminated, until

CAPACITY = Capacity(cpu=4, memory=8 << 30)

FAMILY = """
import json, os, signal, sys, time
def note(**facts): open(sys.argv[1] + f'/{os.getpid()}.json', 'w').write(json.dumps({'tmp': os.environ['TMPDIR'], **facts}))
def run_away():
    if os.fork(): return
    os.setsid()
    if os.fork(): os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    daemon = 'import os, sys, time; open(sys.argv[1] + "/%d.json" % os.getpid(), "w").write("{}"); time.sleep(120)'
    os.execve(sys.executable, ['python', '-S', '-c', daemon, sys.argv[1]], {})
run_away()
"""
"""Prelude of a main container: it can note its pid in the folder of its first argument, and leaves behind a daemon that made a session
of its own, forked twice, ignores SIGTERM and has nothing in its environment."""

ENGINE = "import os, socket, time; s = socket.create_server(('127.0.0.1', int(os.environ['ENGINE_PORT'])))\n" + (
    "while True:\n c, _ = s.accept(); c.recv(999); c.sendall(b'HTTP/1.1 200 OK\\r\\n\\r\\n'); c.close()"
)


class Witness:
    """The processes of a Job, by the notes they leave in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def main(self, then: str, **fields: object) -> dict:
        return python(FAMILY + then, args=[str(self.folder)], **fields)

    def pids(self) -> dict[int, dict]:
        notes = {}
        for path in self.folder.glob("*.json"):
            with suppress(ValueError):
                notes[int(path.stem)] = json.loads(path.read_text())
        return notes

    async def seen(self, count: int) -> dict[int, dict]:
        async def enough():
            return len(self.pids()) >= count and self.pids()

        return await until(enough)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def all_gone(pids) -> None:
    async def gone():
        return not any(map(alive, pids))

    await until(gone)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def main_of(notes: dict[int, dict]) -> int:
    return next(pid for pid, note in notes.items() if note)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders go in this test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return Witness(tmp_path / "witness")


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[LocalCluster]:
    async with LocalCluster(tmp_path / "state", CAPACITY, 0.1) as opened:
        yield opened


@contextmanager
def command(tmp_path: Path, job: dict) -> Iterator[subprocess.Popen]:
    (tmp_path / "job.json").write_text(json.dumps(job))
    program = [sys.executable, "-m", "tests.contract.cluster_command"]
    process = subprocess.Popen([*program, str(tmp_path / "state"), str(tmp_path / "job.json")], cwd=Path(__file__).parents[2])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_what_a_main_container_leaves_behind_dies_with_it(cluster, witness):
    await cluster.create(
        job_of(witness.main("note()\nwhile sum(e.stat().st_size > 0 for e in os.scandir(sys.argv[1])) < 2: time.sleep(0.01)"))
    )
    assert outcome(await finished(cluster)) == ("Complete", "CompletionsReached")
    assert len(witness.pids()) == 2
    assert not any(map(alive, witness.pids()))


async def test_deleting_a_job_ends_its_processes_within_the_grace_period(cluster, witness):
    ends = "signal.signal(15, lambda *_: (note(said='goodbye'), sys.exit(0)))\nnote()\ntime.sleep(60)"
    job = await cluster.create(job_of(witness.main(ends)))
    notes = await witness.seen(2)
    await cluster.delete("Job", NAMESPACE, "job", job["metadata"]["uid"])
    assert await cluster.get("Job", NAMESPACE, "job") is None
    await all_gone(notes)
    assert witness.pids()[main_of(notes)]["said"] == "goodbye"
    await until(no_pods(cluster))
    assert not Path(notes[main_of(notes)]["tmp"]).exists()


async def test_what_ignores_sigterm_is_killed_after_the_grace_period(cluster, witness):
    deaf = "signal.signal(15, signal.SIG_IGN)\nnote()\ntime.sleep(60)"
    job = await cluster.create(job_of(witness.main(deaf), pod={"terminationGracePeriodSeconds": 1}))
    notes = await witness.seen(2)
    await cluster.delete("Job", NAMESPACE, "job", job["metadata"]["uid"])
    await all_gone(notes)


async def test_a_job_that_is_deleted_while_its_pod_ends_leaves_nothing(cluster, witness):
    deaf = sidecar(f"import signal; signal.signal(15, signal.SIG_IGN)\n{ENGINE}")
    main = witness.main("note(port=os.environ['ENGINE_PORT'])", env=[{"name": "ENGINE_PORT", "value": "8000"}])
    job = await cluster.create(job_of(main, init=(deaf,), pod={"terminationGracePeriodSeconds": 5}))

    async def ending():
        pods = await cluster.pods(NAMESPACE, job["metadata"]["uid"])
        states = [container["state"] for pod in pods for container in pod["status"].get("containerStatuses", ())]
        return any("terminated" in state for state in states)

    await until(ending)
    port = int(witness.pids()[main_of(witness.pids())]["port"])
    assert not await port_is_free(port)()
    await cluster.delete("Job", NAMESPACE, "job", job["metadata"]["uid"])
    await until(no_pods(cluster))
    assert await port_is_free(port)()
    assert not any(map(alive, witness.pids()))


async def test_kill_9_of_the_main_process_is_counted_and_tried_again(cluster, witness, tmp_path):
    again = f"note()\nif os.path.exists({str(tmp_path / 'again')!r}): sys.exit(0)\ntime.sleep(60)"
    await cluster.create(job_of(witness.main(again)))
    notes = await witness.seen(2)
    (tmp_path / "again").touch()
    os.kill(main_of(notes), signal.SIGKILL)
    job = await finished(cluster)
    assert (job["status"]["failed"], job["status"]["succeeded"]) == (1, 1)
    first, _ = await cluster.pods(NAMESPACE, job["metadata"]["uid"])
    assert terminated(first)["exitCode"] == 137
    await all_gone(notes)


async def test_kill_9_of_the_supervisor_leaves_nothing_running(cluster, witness, tmp_path):
    again = f"note()\nif os.path.exists({str(tmp_path / 'again')!r}): sys.exit(0)\ntime.sleep(60)"
    await cluster.create(job_of(witness.main(again)))
    notes = await witness.seen(2)
    (tmp_path / "again").touch()
    os.kill(parent_of(main_of(notes)), signal.SIGKILL)
    job = await finished(cluster)
    assert (job["status"]["failed"], job["status"]["succeeded"]) == (1, 1)
    await all_gone(notes)
    assert not Path(notes[main_of(notes)]["tmp"]).exists()


@pytest.mark.parametrize("victims", [("command",), ("command", "supervisor")], ids=" and ".join)
async def test_kill_9_of_the_command_leaves_nothing_and_the_next_one_goes_on_without_counting(
    tmp_path, witness, temporary, victims
):
    again = f"note(port=os.environ['ENGINE_PORT'])\nif os.path.exists({str(tmp_path / 'again')!r}): sys.exit(0)\ntime.sleep(60)"
    main = witness.main(again, env=[{"name": "ENGINE_PORT", "value": "8000"}])
    with command(tmp_path, job_of(main, init=(sidecar(ENGINE),), backoffLimit=0)) as process:
        notes = await witness.seen(2)
        (tmp_path / "again").touch()
        if "supervisor" in victims:
            supervisor = parent_of(main_of(notes))
            os.kill(process.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
            os.kill(supervisor, signal.SIGKILL)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    note = notes[main_of(notes)]
    if victims == ("command",):
        await all_gone(notes)
        await until(port_is_free(int(note["port"])))
        await until(is_empty(temporary))
    else:
        await all_gone([main_of(notes)])
    async with LocalCluster(tmp_path / "state", CAPACITY, 0.1) as cluster:
        assert not any(map(alive, notes))
        job = await finished(cluster)
        assert outcome(job) == ("Complete", "CompletionsReached")
        assert "failed" not in job["status"]
        lost, _ = await cluster.pods(NAMESPACE, job["metadata"]["uid"])
        assert (lost["status"]["phase"], lost["status"]["reason"]) == ("Failed", "NodeLost")
    await until(is_empty(temporary))
    await until(port_is_free(int(note["port"])))


async def test_a_command_that_is_ended_ends_its_processes_and_the_next_one_goes_on(tmp_path, witness, temporary):
    again = f"note()\nif os.path.exists({str(tmp_path / 'again')!r}): sys.exit(0)\ntime.sleep(60)"
    job = job_of(witness.main(again), backoffLimit=0)
    with command(tmp_path, job) as process:
        notes = await witness.seen(2)
        (tmp_path / "again").touch()
        process.terminate()
        await asyncio.to_thread(process.wait, 60)
        assert not any(map(alive, notes))
        assert not list(temporary.iterdir())
    (pod,) = (tmp_path / "state" / "objects" / "pods").glob("*/*.json")
    assert json.loads(pod.read_text())["status"]["reason"] == "TerminationByKubelet"
    with command(tmp_path, job) as process:
        assert await asyncio.to_thread(process.wait, 60) == 0
    ended = LocalCluster.recorded(tmp_path / "state", "Job", NAMESPACE, "job")
    assert outcome(ended) == ("Complete", "CompletionsReached")
    assert "failed" not in ended["status"]


async def test_a_second_command_on_the_same_state_is_refused_and_told_by_whom(cluster, tmp_path):
    with pytest.raises(StateInUse, match=f"in use by process {os.getpid()}"):
        async with LocalCluster(tmp_path / "state", CAPACITY):
            pass


async def test_a_state_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="file/state: Not a directory"):
        async with LocalCluster(tmp_path / "file" / "state", CAPACITY):
            pass


async def test_a_process_sees_nothing_of_the_commands_environment(cluster, monkeypatch, tmp_path):
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    script = "import json, os, sys; open(sys.argv[1], 'w').write(json.dumps(dict(os.environ)))"
    await cluster.create(job_of(python(script, args=["/dev/termination-log"], env=[{"name": "GREETING", "value": "hello"}])))
    job = await finished(cluster)
    (pod,) = await cluster.pods(NAMESPACE, job["metadata"]["uid"])
    environment = json.loads(terminated(pod)["message"])
    own = {"PATH", "HOME", "TMPDIR", "LANG", "REHEARSAL_POD", "GREETING", "CUDA_VISIBLE_DEVICES"}
    assert {name for name in environment if name != "LC_CTYPE"} <= own
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


def port_is_free(port: int):
    async def free():
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return True
        return False

    return free


def no_pods(cluster: LocalCluster):
    async def none():
        return not await cluster.list("Pod", NAMESPACE, {})

    return none


def is_empty(folder: Path):
    async def empty():
        return not list(folder.iterdir())

    return empty
