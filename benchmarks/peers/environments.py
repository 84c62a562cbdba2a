"""Environments of the peers: made when they are first needed, from the pinned list beside the contender, and kept.

No peer is a dependency of this project, and none shares its environment.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent.parent / ".venv-peers"


class PeerNotInstalledError(Exception):
    """Raised where a peer cannot be installed here; the text says which, why, and how to do without it."""


def python_of(peer: str, folder: Path = FOLDER) -> Path:
    """The interpreter of a peer's environment, made anew where its list of packages has changed.

    Args:
        peer: Name of the list: ``prefect`` for ``prefect.txt``.
        folder: Where environments are kept.

    Raises:
        PeerNotInstalledError: its packages cannot be had here.
    """
    wanted = (HERE / f"{peer}.txt").read_text("utf-8")
    environment = folder / peer
    python, installed = environment / "bin" / "python", environment / "installed.txt"
    if installed.exists() and installed.read_text("utf-8") == wanted:
        return python
    installed.unlink(missing_ok=True)
    requirements = str(HERE / f"{peer}.txt")
    _uv(peer, "venv", "--clear", "--python", sys.executable, str(environment))
    _uv(peer, "pip", "install", "--compile-bytecode", "--python", str(python), "-r", requirements)
    installed.write_text(wanted, "utf-8")
    return python


def _uv(peer: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "uv", *arguments, "--quiet"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        why = " ".join(done.stderr.split())[-300:] or f"uv ended with exit code {done.returncode}"
        raise PeerNotInstalledError(
            f"{peer} cannot be installed here, and is left out: {why}. What it needs is in {HERE / f'{peer}.txt'}"
        )
