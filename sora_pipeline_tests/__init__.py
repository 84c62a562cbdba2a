"""Tests of sora_pipeline."""

import os

# Readline, which a test runner imports, tells child processes that of 80 columns, and what is printed would be broken into lines so wide.
os.environ.pop("COLUMNS", None)
