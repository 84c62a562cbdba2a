"""The provider ``example``. Light: it is loaded with the settings, and HTTP only where the provider is used."""

from importlib.resources import files
from typing import TYPE_CHECKING

from sora_pipeline.provider.protocol import ImageTransport, Provider
from sora_pipeline.provider.spec import ProviderSpec

if TYPE_CHECKING:
    from sora_pipeline.provider.catalogue import Catalogue
    from sora_pipeline.provider.config import ProviderConfig


def _make(config: "ProviderConfig", catalogue: "Catalogue") -> Provider:
    from sora_provider_example.provider import ExampleProvider

    return ExampleProvider(config)


EXAMPLE = ProviderSpec(
    name="example",
    version=1,
    make=_make,
    default_base_url="https://api.video.example",
    image_transports=frozenset({ImageTransport.AUTO, ImageTransport.DATA_URI}),
    catalogue=files(__name__) / "catalogue.toml",
)
