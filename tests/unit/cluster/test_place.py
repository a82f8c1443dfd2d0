from pathlib import Path

import pytest

from rehearsal.cluster.capacity import Claim
from rehearsal.cluster.place import PORTS, Place, expand

TMP, SHM = "/tmp", "/dev/shm"  # noqa: S108 - inside the pod
UID = "abcdef01-0000-0000-0000-000000000000"


def placed(tmp_path: Path, main: dict, init: tuple = (), **spec) -> Place:
    mounts = [{"name": "model", "mountPath": "/model"}, {"name": "deep", "mountPath": "/model/deep/"}]
    mounts += [{"name": "tmp", "mountPath": TMP}, {"name": "shm", "mountPath": SHM}]
    main = {"name": "main", "command": ["true"], "volumeMounts": mounts} | main
    volumes = [{"name": name, "emptyDir": {}} for name in ("model", "deep", "tmp", "shm")]
    pod = {"metadata": {"uid": UID}, "spec": {"containers": [main], "initContainers": list(init), "volumes": volumes} | spec}
    place = Place(pod, tmp_path, Claim({}, {}), set())
    place.main = main
    return place


def arguments(tmp_path: Path, *items: str, env: dict[str, str] | None = None) -> list[str]:
    main = {"command": list(items), "env": [{"name": name, "value": value} for name, value in (env or {}).items()]}
    place = placed(tmp_path, main)
    return place.host(place.main).command


def test_a_path_at_or_under_a_mount_becomes_the_hosts(tmp_path):
    model = tmp_path / "pods" / UID / "volumes" / "model"
    assert arguments(tmp_path, "/model", "/model/a/b", "/models", "x/model", "--model=/model") == [
        *(str(model), f"{model}/a/b"),
        *("/models", "x/model", "--model=/model"),
    ]


def test_the_deepest_mount_counts(tmp_path):
    assert arguments(tmp_path, "/model/deep/x") == [str(tmp_path / "pods" / UID / "volumes" / "deep" / "x")]


def test_a_mount_at_tmp_is_the_pods_temporary_folder_and_shared_memory_is_the_machines(tmp_path):
    place = placed(tmp_path, {"command": [f"{TMP}/socket", f"{SHM}/x"]})
    hosted = place.host(place.main)
    assert hosted.command == [f"{place.temporary / 'tmp'}/socket", f"{SHM}/x"]
    assert hosted.environment["TMPDIR"] == str(place.temporary / "tmp")
    assert place.temporary.name == "rehearsal-abcdef01"


def test_a_host_path_that_looks_like_a_mount_is_not_rewritten_again(tmp_path):
    place = placed(tmp_path, {"command": ["$(DIR)/x"], "env": [{"name": "DIR", "value": "/model"}]})
    place.folder = Path("/model/state")
    assert place.host(place.main).command == ["/model/state/volumes/model/x"]


def test_variables_are_expanded_from_the_containers_own_environment(tmp_path):
    env = {"A": "1", "B": "$(A)2", "C": "$(LATER)", "LATER": "x"}
    assert arguments(tmp_path, "$(A)", "$(B)", "$(C)", "$(HOME)", "$$(A)", "$A", env=env) == [
        "1",
        "12",
        "$(LATER)",
        "$(HOME)",
        "$(A)",
        "$A",
    ]


def test_a_key_of_a_secret_is_taken_from_the_commands_environment_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("API_PORT", "$(HOME)")
    place = placed(tmp_path, {"env": [{"name": "API_PORT", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]})
    assert place.host(place.main).environment["API_PORT"] == "$(HOME)"


@pytest.mark.parametrize(("text", "expanded"), [("$", "$"), ("$(", "$("), ("$()", "$()"), ("a$$b", "a$b"), ("$(A)$(A)", "11")])
def test_what_is_no_reference_stays(text, expanded):
    assert expand(text, {"A": "1"}) == expanded


def test_a_declared_port_gets_a_free_one_that_the_whole_pod_knows(tmp_path):
    ports = [{"name": "engine", "containerPort": 8000}]
    engine = {"name": "engine", "command": ["$(ENGINE_PORT)"], "ports": ports, "env": [{"name": "ENGINE_PORT", "value": "8000"}]}
    place = placed(
        tmp_path, {"env": [*engine["env"], {"name": "OTHER_PORT", "value": "9000"}, {"name": "COUNT", "value": "8000"}]}, (engine,)
    )
    port = place.port(engine, "engine")
    assert port in PORTS and port == place.port(engine, 8000)
    assert place.host(engine).command == [str(port)]
    environment = place.host(place.main).environment
    assert (environment["ENGINE_PORT"], environment["OTHER_PORT"], environment["COUNT"]) == (str(port), "9000", "8000")


def test_the_termination_message_has_a_file_of_its_own(tmp_path):
    place = placed(tmp_path, {"command": ["--log", "/dev/termination-log"]})
    hosted = place.host(place.main)
    assert hosted.command == ["--log", str(hosted.message)]


def test_nothing_is_left_of_a_place(tmp_path):
    place = placed(tmp_path, {})
    place.prepare()
    assert place.home.is_dir() and place.temporary.stat().st_mode & 0o077 == 0
    place.remove()
    assert not place.folder.exists() and not place.temporary.exists()
