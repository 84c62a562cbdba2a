"""What the pages show as code is code that loads."""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

DOCS = Path(__file__).parents[1] / "docs"


def test_example_of_a_project_loads(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_KEY", "sk-1")
    example, *_ = re.findall(r"^```python\n(.*?)^```", (DOCS / "in-your-project.md").read_text(), re.M | re.S)
    module: dict[str, Any] = {}
    exec(example, module)
    dg.Definitions.validate_loadable(module["defs"])
