"""What ``sora-pipeline demo`` refuses, before anything is made."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sora_pipeline.example import ExampleError, example_files, write_example


def demo(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "sora_pipeline", "demo", *arguments],
        cwd=folder,
        env={**os.environ, "SORA_PROVIDER": "gptproto", "SORA_API_KEY": "sk-of-somebody"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_example_is_the_one_of_the_repository() -> None:
    data = Path(__file__).parents[2] / "data"
    assert {"manifest.csv", "images/cup.jpg", "images/boat.png"} <= set(example_files())
    assert all((data / name).read_bytes() == content for name, content in example_files().items())


def test_example_is_written_once_and_left_alone_then(tmp_path: Path) -> None:
    manifest = write_example(tmp_path / "a" / "b")
    before = manifest.stat().st_size
    assert write_example(tmp_path / "a" / "b") == manifest
    assert manifest.stat().st_size == before


@pytest.mark.parametrize("name", ["manifest.csv", "images/cup.jpg", "notes.txt", ".env", "images/mine.jpg"])
def test_folder_with_a_file_of_ones_own_is_left_as_it_is(tmp_path: Path, name: str) -> None:
    own = tmp_path / "sora-demo" / name
    own.parent.mkdir(parents=True)
    own.write_text("SORA_PROVIDER=gptproto")
    ended = demo(tmp_path)
    assert ended.returncode == 2
    assert f"sora-demo holds {name}, which is not of the example" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [path for path in (tmp_path / "sora-demo").rglob("*") if path.is_file()] == [own]
    assert own.read_text() == "SORA_PROVIDER=gptproto"


def test_file_where_the_folder_would_be_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "sora-demo").write_text("mine")
    ended = demo(tmp_path)
    assert ended.returncode == 2
    assert "sora-demo is a file" in ended.stderr
    assert (tmp_path / "sora-demo").read_text() == "mine"


def test_folder_that_cannot_be_made_is_one_sentence() -> None:
    with pytest.raises(ExampleError, match="/proc/sora-demo cannot be written to: "):
        write_example(Path("/proc/sora-demo"))
