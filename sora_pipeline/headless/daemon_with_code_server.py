"""A Dagster daemon and one code server for all its life; both end when this process's standard input closes.

Left to itself, the daemon replaces its code server every minute, and each imports the whole code location.
Started as ``python -m sora_pipeline.headless.daemon_with_code_server MODULE``; imports nothing heavy.
"""

import json
import socket
import sys
import tempfile
import time
from pathlib import Path

from sora_pipeline.headless.supervisor import LOOK_S, Supervisor


def main(module: str) -> int:
    """Run until the daemon or the parent ends; returns the daemon's exit code, or that of a code server that cannot start."""
    # Not below the home: the path of a socket is a hundred characters long at most.
    with tempfile.TemporaryDirectory(prefix="sora-pipeline-") as folder, Supervisor() as supervisor:
        address, workspace = Path(folder) / "code-server", Path(folder) / "workspace.yaml"
        server = {"socket": str(address), "location_name": module}
        workspace.write_text(json.dumps({"load_from": [{"grpc_server": server}]}))  # JSON is YAML
        # As Dagster starts its own, but that it does not end by itself: a busy machine was enough for that.
        code_server = supervisor.help_by(
            [
                _installed("dagster"),
                *(
                    "api",
                    "grpc",
                    "--socket",
                    str(address),
                    "--module-name",
                    module,
                    "--location-name",
                    module,
                ),
                *("--log-level", "warning", "--inject-env-vars-from-instance"),
            ]
        )
        while not supervisor.ending and not _answers(address):
            if (code := code_server.process.poll()) is not None:
                return code
            time.sleep(LOOK_S)
        if supervisor.ending:
            return 0
        return supervisor.run([_installed("dagster-daemon"), "run", "--workspace", str(workspace)])


def _installed(command: str) -> str:
    return str(Path(sys.executable).with_name(command))


def _answers(address: Path) -> bool:
    """Whether the code server is there; it listens once it has loaded everything."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(address)) == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
