import ast
from pathlib import Path

import sora_pipeline.sandbox

PACKAGE = Path(sora_pipeline.sandbox.__file__).parent


def test_the_sandbox_imports_nothing_of_the_pipeline() -> None:
    imported = {
        name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in _names(node)
        if name.startswith("sora_pipeline")
    }
    imported.remove("sora_pipeline.errors")  # the base class of what a command shows
    assert all(name.startswith("sora_pipeline.sandbox.") for name in imported), imported


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []
