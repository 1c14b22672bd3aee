"""What import-linter cannot see: calls that would make the core impure although nothing forbidden is imported."""

import ast
from pathlib import Path

import pytest

import quartermaster

ROOT = Path(quartermaster.__file__).parent
PURE = ("model", "cluster", "scheduling", "whatif", "workloads")
CORE = [path for package in PURE for path in sorted((ROOT / package).rglob("*.py"))]
IMPURE = {"open", "print", "input", "exec", "eval", "breakpoint"}


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_calls_nothing_impure(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in IMPURE, f"line {node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("np", "random"), f"line {node.lineno}"


def test_there_is_a_core_to_look_at() -> None:
    assert len(CORE) > 20
