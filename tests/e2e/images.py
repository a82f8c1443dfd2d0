"""The images of a session: ours, built and brought to our node; or those under the prefix that `E2E_IMAGES` names.

`python -m tests.e2e.images FILE` writes the image of the S3 server as an archive for `docker load` or `kind load image-archive`.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.chart.helm import CHART
from tests.e2e.cluster import Cluster
from tests.onenode import images as node
from tests.tools import ROOT, tool

VERSION = str(yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"])
OURS = ("operator", "inference", "trainer")
SERVER = "e2e-s3"


@dataclass(frozen=True)
class Images:
    """The images under a prefix, as a registry or the nodes know them."""

    prefix: str = "rehearsal"

    def name(self, image: str) -> str:
        """Return an image's full reference."""
        return f"{self.prefix}/{image}:{VERSION}"

    def values(self) -> dict[str, Any]:
        """Return them as values of the chart."""
        named = {image: self.name(image) for image in ("inference", "trainer")}
        return {"image": {"repository": f"{self.prefix}/operator", "tag": VERSION}, "platform": {"images": named}}


def prepare(cluster: Cluster) -> Images:
    """Return the images, on our node if the cluster is ours: built from this tree, less what is built already, unless they are named."""
    given = os.environ.get("E2E_IMAGES")
    images = Images(given.rstrip("/")) if given else Images()
    if cluster.one_node and not given:
        command = [shutil.which("make") or "make", "images", "PREFIX=docker.io/rehearsal", "VARIANT=cpu"]
        subprocess.run(command, cwd=ROOT, check=True)
        for image in OURS:
            node.load(images.name(image))
    if cluster.one_node:
        node.provide(node.full_name(images.name(SERVER)), Path(tool("s3server")))
    return images


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(node.archive(Images().name(SERVER), Path(tool("s3server"))))
