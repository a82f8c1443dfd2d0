"""The table of guards in SECURITY.md names tests that are there."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
NAMED = re.compile(r"^\| .* \| `([\w/.]+)::(\w+)` \|$", re.M)


def test_every_guard_names_a_test_that_is_there() -> None:
    rows = NAMED.findall((TESTS.parent / "SECURITY.md").read_text())
    assert len(rows) > 30
    for path, name in rows:
        tree = ast.parse((TESTS / path).read_text())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in functions, f"SECURITY.md: {path} has no {name}"
