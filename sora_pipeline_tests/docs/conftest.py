"""The site, built once for the tests that look at it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sora_pipeline_tests.docs.blocks import ROOT


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make docs` does, in folders of its own: several may build at once."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(folder / "trees")]
    built = subprocess.run(
        [*command, str(_sources(folder / "sources")), str(folder / "html")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder / "html"


def _sources(folder: Path) -> Path:
    """The docs and the texts that they include; the reference is written beside them.

    Copies, not symbolic links: links between pages lead to where a page really is.
    """
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("reference"))
    for path in ROOT.glob("*.md"):
        shutil.copy(path, folder)
    for name in ("sora_pipeline", "docs_reference"):
        (folder / name).symlink_to(ROOT / name)
    return folder / "docs"
