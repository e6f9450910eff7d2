"""The tests that docs/security.md names are there, and what no test of behaviour can show."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import callengine

ROOT = Path(__file__).parent.parent.parent
PACKAGE = Path(callengine.__file__).parent
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[^`]+)`", PAGE)))


@pytest.mark.parametrize("name", NAMED)
def test_every_test_that_the_page_names_is_there(name: str) -> None:
    file, _, function = name.partition("::")
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert not function or function in functions


def test_every_promise_names_one() -> None:
    promised = PAGE.partition("## What is promised")[2].partition("## What is not promised")[0]
    rows = [
        line
        for line in promised.splitlines()
        if line.startswith("| ") and not line.startswith(("| promise", "| limit"))
    ]
    assert len(rows) > 25
    assert [row for row in rows if "`tests/" not in row.rpartition(" | ")[2]] == []


def test_nothing_in_the_package_evaluates_what_it_is_given() -> None:
    """`compile` is `re`'s alone, and processes are started by the test kit alone."""
    calls = {"eval", "exec", "compile", "__import__"}
    modules = {"pickle", "marshal", "shelve", "subprocess", "yaml"}
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        if "testing" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                names = [node.func.id]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            wrong += [f"{path.name}: {name}" for name in names if name in calls | modules]
    assert wrong == []
