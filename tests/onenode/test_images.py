"""What an image is called on the node, who it is taken from, and that one travels there once."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.control.access import Access
from tests.onenode import images
from tests.onenode.conftest import probe_program
from tests.onenode.test_pods import create, output_of, pod, probe

LOCAL = "rehearsal/onenode-test:1"


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("rehearsal/operator:0.1.0", "docker.io/rehearsal/operator:0.1.0"),
        ("busybox", "docker.io/library/busybox:latest"),
        ("localhost/mine", "localhost/mine:latest"),
        ("registry.example:5000/team/mine", "registry.example:5000/team/mine:latest"),
    ],
)
def test_a_name_is_completed_as_kubernetes_completes_it(name: str, full: str):
    assert images.full_name(name) == full


@pytest.mark.parametrize(
    ("working", "asked"),
    [(("docker", "podman", "buildah"), "docker"), (("podman", "buildah"), "podman"), (("buildah",), "buildah")],
)
def test_an_image_is_taken_from_the_tool_that_would_have_built_it(programs: Path, working: tuple[str, ...], asked: str):
    for tool in images.TOOLS:
        write(programs / tool, f"echo {tool}" if tool in working else '[ "$1" != info ] || exit 1; echo stale')
    write(programs / "ctr", f'[ "$4" != import ] || cat >{programs}/received')
    images.load(LOCAL)
    assert (programs / "received").read_text() == f"{asked}\n"


def test_a_node_that_takes_no_image_is_what_is_blamed(programs: Path):
    write(programs / "docker", 'echo here; while [ "$1" = save ]; do echo layer || exit; done')
    write(programs / "ctr", '[ "$4" != import ] || { echo no space left >&2; exit 1; }')
    with pytest.raises(RuntimeError, match=f"{LOCAL} could not be brought to the node: no space left"):
        images.load(LOCAL)


def test_an_image_that_could_not_be_written_to_its_end_is_not_called_loaded(programs: Path):
    write(programs / "docker", '[ "$1" != save ] || exit 1; echo here')
    write(programs / "ctr", "")
    with pytest.raises(RuntimeError, match=f"docker could not write {LOCAL}"):
        images.load(LOCAL)


def test_an_image_of_one_program_takes_the_place_of_an_older_one(programs: Path):
    write(programs / "server", "")
    write(programs / "ctr", f'if [ "$4" = list ]; then printf "REF\\n{LOCAL} - sha256:old"; else cat >{programs}/received; fi')
    images.provide(LOCAL, programs / "server")
    assert (programs / "received").read_bytes() == images.archive(LOCAL, programs / "server")


@pytest.mark.cluster
def test_an_image_of_this_machine_runs_on_the_node(onenode: Access, namespace: str, tmp_path: Path):
    buildah = shutil.which("buildah") or pytest.skip("needs buildah")
    shutil.copy(probe_program(), tmp_path / "probe")
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCOPY probe /\nENTRYPOINT ["/probe"]\n')
    subprocess.run([buildah, "build", "--quiet", f"--tag={LOCAL}", str(tmp_path)], check=True)
    try:
        assert images.load(LOCAL) == images.load(LOCAL) == f"docker.io/{LOCAL}"
    finally:
        subprocess.run([buildah, "rmi", LOCAL], check=True)
    create(onenode, namespace, pod("hello", {**probe("say", "loaded"), "image": LOCAL}))
    assert output_of(onenode, namespace, "hello") == "loaded"


@pytest.mark.cluster
def test_an_image_nobody_holds_is_named(onenode: Access):
    with pytest.raises(images.Unknown, match="no image rehearsal/nothing:1 in docker, podman, buildah"):
        images.load("rehearsal/nothing:1")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose programs are the only container tools, and the node's."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(images, "tool", lambda name, _: str(tmp_path / name))
    return tmp_path


def write(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
