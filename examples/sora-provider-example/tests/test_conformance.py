from collections.abc import Iterator

import pytest
from emulator import ExampleEmulator
from sora_provider_example import EXAMPLE

from sora_pipeline.provider.conformance import Emulator, ProviderConformance


class TestExample(ProviderConformance):
    spec = EXAMPLE

    @pytest.fixture
    def emulator(self) -> Iterator[Emulator]:
        with ExampleEmulator() as emulator:
            yield emulator
