"""Dagster Components of this package, as ``dg list components`` shows them."""

from sora_pipeline.components.video_production import VideoProduction

__all__ = ["VideoProduction"]
