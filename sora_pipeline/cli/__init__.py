"""The command line, ``sora-pipeline``: one file a command, and one for what they print."""

from sora_pipeline.cli.app import main

__all__ = ["main"]
