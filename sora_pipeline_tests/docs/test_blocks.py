"""Every command and snippet of README and docs is run, or says why it cannot be; what it names is there in any case."""

import csv
import importlib
import io
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from sora_pipeline.components import VideoProduction
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline.sandbox.embedded import running_sandbox
from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline_tests.docs.blocks import LANGUAGES, Block, blocks_of, inline_commands, pages
from sora_pipeline_tests.docs.commands import lines_of, unknown_in
from sora_pipeline_tests.docs.terminal import Terminal

BLOCKS = [block for page in pages() for block in blocks_of(page)]
PAID = "docs/tutorial/first-paid-clip.md"
KEY = "sk-your-key"
"""As the page writes it; its provider is a sandbox that takes it."""


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("SORA_OUTPUT", raising=False)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    for name in ("ACME_KEY", "ZETA_KEY"):
        monkeypatch.setenv(name, KEY)
    return Terminal(tmp_path)


@pytest.fixture
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a provider that takes the key of the page about money."""
    settings = SandboxSettings(
        state_dir=tmp_path_factory.mktemp("provider"), api_key=KEY, render_s=0.4, fps=6
    )
    with running_sandbox(settings) as endpoint:
        yield endpoint.url


@pytest.mark.timeout(1200)
def test_every_block_runs(terminal: Terminal, provider: str) -> None:
    wrong = []
    for page in pages():
        name = page.relative_to(pages()[0].parent).as_posix()
        terminal.begin_page({"SORA_BASE_URL": provider} if name == PAID else {})
        for block in blocks_of(page):
            if found := _tried(block, terminal):
                wrong.append(found)
    assert not wrong, "\n\n".join(wrong)


def test_every_block_is_of_a_kind_that_is_run_or_is_no_code() -> None:
    kinds = Counter(block.language.partition("} ")[0] for block in BLOCKS)
    assert set(kinds) <= {*LANGUAGES, "", "text", "{toctree}", "{include"}
    assert all(kinds[language] for language in LANGUAGES)


def test_blocks_that_are_not_run_say_why() -> None:
    code = [block for block in BLOCKS if block.language in LANGUAGES]
    left = [block for block in code if block.not_run]
    print(f"{len(left)} of {len(code)} blocks are not run:")
    print("\n".join(f"{block} {block.language}: {block.not_run}" for block in left))
    assert all(len(block.not_run.split()) > 2 for block in left)
    assert len(left) < len(code) / 2


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "console"], ids=str)
def test_commands_and_options_of_a_block_are_real(block: Block) -> None:
    assert [unknown for line in lines_of(block.text) for unknown in unknown_in(line)] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_commands_and_options_in_sentences_are_real(page: Path) -> None:
    wrong = [
        f"line {line}: {each} in {text}" for line, text in inline_commands(page) for each in unknown_in(text)
    ]
    assert wrong == []


def test_what_is_not_real_is_found() -> None:
    assert unknown_in("sora-pipeline rnu a.csv && true") == ["rnu"]
    assert unknown_in("X=1 .venv/bin/sora-pipeline run a.csv --bugdet 5 --json  # --no") == ["--bugdet"]
    assert unknown_in("pip install sora-pipeline --upgrade") == []
    assert unknown_in("uvx --from sora-pipeline sora-pipeline ledger rebiuld") == ["rebiuld"]


def _tried(block: Block, terminal: Terminal) -> str:
    """What is wrong with a block, or nothing."""
    if block.language not in LANGUAGES:
        return ""
    if block.file:
        terminal.write(block)
    if block.language == "console":
        return "" if block.not_run else terminal.run(block)
    try:
        {"python": _python, "yaml": _yaml, "toml": _toml, "csv": _csv}[block.language](block, terminal)
    except Exception as error:  # whatever it is, it is said of which block
        return f"{block}: {type(error).__name__}: {error}"
    return ""


def _python(block: Block, terminal: Terminal) -> None:
    code = compile(block.text, str(block), "exec")
    if block.not_run:
        return
    if block.file:
        importlib.import_module(block.file.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        return
    module: dict[str, Any] = {"__name__": "a_page"}
    exec(code, module)
    if "defs" in module:
        dg.Definitions.validate_loadable(module["defs"])


def _yaml(block: Block, terminal: Terminal) -> None:
    read = yaml.safe_load(block.text)
    if read.get("type", "").endswith("VideoProduction"):
        VideoProduction.model().model_validate(read["attributes"])
    elif "load_from" in read:
        for each in read["load_from"]:
            assert isinstance(
                importlib.import_module(each["python_module"]["module_name"]).defs, dg.Definitions
            )
    else:
        assert block.not_run, "nothing here reads it"


def _toml(block: Block, terminal: Terminal) -> None:
    read = tomllib.loads(block.text)
    if "models" in read:
        path = terminal.folder / "of-a-page.toml"
        path.write_text(block.text, "utf-8")
        assert set(read["models"]) <= set(load_catalogue(path).names)
    else:
        assert set(read["project"]["entry-points"]) <= {"sora_pipeline.providers"}


def _csv(block: Block, terminal: Terminal) -> None:
    header, *rows = csv.reader(io.StringIO(block.text))
    assert "prompt" in header
    assert {len(row) for row in rows} == {len(header)}
