"""Every case of docs/edge-cases.md that the library handles is a test that names it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent
DOCUMENT = ROOT.parent / "docs" / "edge-cases.md"
CASES = range(1, 87)
WITHOUT_TEST = ("Does not apply", "Not yet")


def numbers_named() -> set[int]:
    """The numbers in all `@pytest.mark.edge_case(...)` of the tests."""
    return {
        number.value
        for path in ROOT.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.edge_case"
        for number in node.args
        if isinstance(number, ast.Constant) and isinstance(number.value, int)
    }


def rows() -> dict[int, str]:
    """Number -> what the document says that the library does."""
    found = re.findall(r"^\| (\d+) \| .+? \| (.+) \|$", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    return {int(number): told for number, told in found}


def test_every_case_is_in_the_document_once() -> None:
    assert sorted(rows()) == list(CASES)


def test_every_case_has_a_test_or_a_reason_why_not() -> None:
    untested = set(CASES) - numbers_named()
    assert {number for number in untested if not rows()[number].startswith(WITHOUT_TEST)} == set()


def test_no_test_names_a_case_that_does_not_exist() -> None:
    assert numbers_named() <= set(CASES)
