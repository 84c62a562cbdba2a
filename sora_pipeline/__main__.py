"""``python -m sora_pipeline`` is ``sora-pipeline``."""

from sora_pipeline.cli import main

main()
