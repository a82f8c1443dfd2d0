"""What an image is called on the node, and that one travels there once."""

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
    with pytest.raises(images.Unknown, match="no image rehearsal/nothing:1 in buildah, podman, docker"):
        images.load("rehearsal/nothing:1")
