"""The providers that come with this package, registered like anybody's: by entry points."""

from typing import TYPE_CHECKING

from sora_pipeline.provider.protocol import ImageTransport, Provider
from sora_pipeline.provider.spec import ProviderSpec

if TYPE_CHECKING:
    from sora_pipeline.provider.catalogue import Catalogue
    from sora_pipeline.provider.config import ProviderConfig

GPTPROTO_URL = "https://gptproto.com"


def _gptproto(config: "ProviderConfig", catalogue: "Catalogue") -> Provider:
    from sora_pipeline.provider.gptproto import GptProto

    return GptProto(config, catalogue)


def _gptproto_unified(config: "ProviderConfig", catalogue: "Catalogue") -> Provider:
    from sora_pipeline.provider.gptproto_unified import GptProtoUnified

    return GptProtoUnified(config, catalogue)


def _openai_videos(config: "ProviderConfig", catalogue: "Catalogue") -> Provider:
    from sora_pipeline.provider.openai_videos import OpenAIVideos

    return OpenAIVideos(config, catalogue)


SANDBOX = ProviderSpec(name="sandbox", version=1, make=_gptproto, simulated=True, needs_key=False)
GPTPROTO = ProviderSpec(name="gptproto", version=1, make=_gptproto, default_base_url=GPTPROTO_URL)
GPTPROTO_UNIFIED = ProviderSpec(
    name="gptproto-unified",
    version=1,
    make=_gptproto_unified,
    default_base_url=GPTPROTO_URL,
    image_transports=frozenset({ImageTransport.AUTO, ImageTransport.URL, ImageTransport.DATA_URI}),
)
OPENAI_VIDEOS = ProviderSpec(
    name="openai-videos", version=1, make=_openai_videos, default_base_url=GPTPROTO_URL
)
