"""The image that is made without a container tool. It needs no cluster."""

import json
import tarfile
from pathlib import Path

from tests.onenode.images import archive


def test_an_image_of_one_program_is_an_archive_as_docker_writes_them(tmp_path: Path) -> None:
    program, image = tmp_path / "server", tmp_path / "image.tar"
    program.write_bytes(b"\x7fELF")
    image.write_bytes(archive("rehearsal/server:1", program))
    with tarfile.open(image) as files:
        read = {name: files.extractfile(name).read() for name in files.getnames()}
    (manifest,) = json.loads(read["manifest.json"])
    assert manifest["RepoTags"] == ["rehearsal/server:1"]
    assert json.loads(read[manifest["Config"]])["config"]["Entrypoint"] == ["/server"]
    assert set(manifest["Layers"]) < read.keys()
