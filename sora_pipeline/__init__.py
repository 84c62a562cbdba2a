"""Batch video production for Dagster: a manifest of prompts in, checked videos and a manifest of videos out."""

__version__ = "0.1.0"
