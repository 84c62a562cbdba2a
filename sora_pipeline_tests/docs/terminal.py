"""A person's terminal in an empty folder: the real commands, the sandbox, and variables that stay until the page ends."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from sora_pipeline_tests.docs.blocks import ROOT, Block
from sora_pipeline_tests.docs.commands import expected_output, lines_of

QUICK = {
    "SORA_SANDBOX_RENDER_S": "0.4",
    "SORA_SANDBOX_FPS": "6",
    "SORA_SANDBOX_SHARED_RENDERS": "true",
    "SORA_POLL_INTERVAL_S": "1",
}
TIMEOUT_S = 240
_KEEP = "{line}\ncode=$?\nexport -p > .variables\nexit $code"


@dataclass
class Terminal:
    """One for all pages: what a page makes, later ones find.

    Attributes:
        done: Commands that ran, with the content of the files they name: what is shown twice is run once.
    """

    folder: Path
    done: set[tuple[str, ...]] = field(default_factory=set)

    def __post_init__(self) -> None:
        (self.folder / "data").symlink_to(ROOT / "data")

    def begin_page(self, variables: dict[str, str]) -> None:
        """Forget what the last page has set."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("SORA_", "DAGSTER"))
        }
        kept.pop("GPTPROTO_API_KEY", None)
        kept |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "COLUMNS": "120",
        }
        self.variables = kept | QUICK | variables
        (self.folder / ".variables").unlink(missing_ok=True)

    def run(self, block: Block) -> str:
        """Type the commands of a block; what was wrong, or nothing."""
        shown = []
        for line in lines_of(block.text):
            if (what := self._what(line)) in self.done:
                continue
            try:
                ended = self._type(line)
            except subprocess.TimeoutExpired:
                return f"{block}: `{line}` does not end"
            if ended.returncode != block.exit_code:
                return f"{block}: `{line}` ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}"
            self.done.add(what)
            shown.append(ended.stdout)
        wanted = expected_output(block.text)
        return "" if _shows("\n".join(shown), wanted) else f"{block}: shows\n{''.join(shown)}\nnot\n{wanted}"

    def write(self, block: Block) -> Path:
        """Save a block under the name that its page gives it."""
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, "utf-8")
        return path

    def _type(self, line: str) -> "subprocess.CompletedProcess[str]":
        before = "test ! -e .variables || . ./.variables\n"
        return subprocess.run(
            ["bash", "-c", before + _KEEP.format(line=line)],
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def _what(self, line: str) -> tuple[str, ...]:
        """The command, its variables, and what its files hold."""
        command = line.partition("  #")[0].strip()
        if command.startswith("export "):
            return (command, str(len(self.done)), str(id(self.variables)))
        files = [self.folder / word.strip("'") for word in command.split()]
        contents = [path.read_text("utf-8", "replace") for path in files if path.is_file()]
        set_so_far = self.folder / ".variables"
        exported = set_so_far.read_text() if set_so_far.exists() else ""
        ours = "\n".join(line for line in exported.splitlines() if " SORA_" in line)
        return (command, ours, *contents)


def _shows(shown: str, wanted: str) -> bool:
    """Whether an output is as a page has it; ``…`` stands for anything."""
    pattern = r"\s*".join(
        ".*?".join(re.escape(part) for part in re.split("…", word)) for word in wanted.split()
    )
    return re.search(pattern, shown, re.DOTALL) is not None
