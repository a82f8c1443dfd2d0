"""JSON, YAML and pickles from outside have one reader each, or none: lint and this test hold the rest of the code to it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = sorted((ROOT / "operator" / "rehearsal").rglob("*.py"))
READERS = {"dill", "joblib", "marshal", "pickle", "ruamel", "shelve", "tomllib", "yaml"}
YAML_HOMES = ("outside/yaml_text.py", "api/crd.py")


@pytest.mark.parametrize(
    "code",
    [
        "import json\njson.loads(data)",
        "import json\njson.load(file)",
        "from json import loads",
        "from json import JSONDecoder",
        "import yaml",
        "from yaml import safe_load",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=True)",
        "from torch import load",
        "import pickle\npickle.loads(data)",
        "eval(text)",
        "import ast\nast.literal_eval(text)",
    ],
)
def test_lint_refuses_another_reader(code: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--stdin-filename", "operator/rehearsal/worker/x.py", "-"]
    done = subprocess.run(command, input=code, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert "TID251" in done.stdout or "S301" in done.stdout or "S307" in done.stdout


def test_no_answer_is_parsed_by_a_client_library() -> None:
    """`response.json()` and the like know no bounds."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "json"
    ]
    assert found == []


def test_no_module_imports_a_reader_of_its_own() -> None:
    found = {
        f"{path.relative_to(ROOT / 'operator' / 'rehearsal')}: {name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
        if name.partition(".")[0] in READERS and not str(path).endswith(YAML_HOMES)
    }
    assert found == set()
