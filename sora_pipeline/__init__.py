"""Batch video production for Dagster: a manifest of prompts in, checked videos and a manifest of videos out.

``VideoPipeline`` builds everything for Dagster; ``Settings`` is how it is to work.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sora_pipeline.pipeline import VideoPipeline
    from sora_pipeline.settings import Settings

__version__ = "0.1.0"
__all__ = ["VideoPipeline", "Settings", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: the command line and the provider need no Dagster."""
    if name == "VideoPipeline":
        from sora_pipeline.pipeline import VideoPipeline

        return VideoPipeline
    if name == "Settings":
        from sora_pipeline.settings import Settings

        return Settings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
