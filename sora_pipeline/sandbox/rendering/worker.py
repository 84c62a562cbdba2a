"""A render process: reads briefs from standard input, one JSON line each, answers each with a JSON line.

It ends when its input does, so none outlives the server, however that died.
"""

import contextlib
import json
import os
import sys

from sora_pipeline.sandbox.rendering.encode import render
from sora_pipeline.sandbox.rendering.scene import Brief


def main() -> None:
    """Render until standard input ends."""
    with contextlib.suppress(OSError):
        os.nice(10)  # answering requests comes first
    for line in sys.stdin:
        try:
            render(Brief(**json.loads(line)))
            error_text = None
        except Exception as error:
            error_text = f"{type(error).__name__}: {error}"
        sys.stdout.write(json.dumps({"error": error_text}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
