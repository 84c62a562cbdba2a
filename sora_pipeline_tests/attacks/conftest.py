"""The people and daemons of the other rooms' tests."""

from sora_pipeline_tests.assets.conftest import studio as studio
from sora_pipeline_tests.automation.conftest import daemon as daemon
