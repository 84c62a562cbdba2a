"""What several rooms' tests work with."""

from sora_pipeline_tests.assets.conftest import studio
from sora_pipeline_tests.automation.conftest import daemon

__all__ = ["daemon", "studio"]
