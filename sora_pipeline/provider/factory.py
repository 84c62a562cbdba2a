"""From settings to a provider."""

from sora_pipeline.provider.catalogue import Catalogue, load_catalogue
from sora_pipeline.provider.config import ProviderConfig
from sora_pipeline.provider.gptproto import GptProto
from sora_pipeline.provider.gptproto_unified import GptProtoUnified
from sora_pipeline.provider.openai_videos import OpenAIVideos
from sora_pipeline.provider.protocol import Provider
from sora_pipeline.provider.wire import WireFormat

_FORMATS: dict[str, type[WireFormat]] = {
    "sandbox": GptProto,
    "gptproto": GptProto,
    "gptproto-unified": GptProtoUnified,
    "openai-videos": OpenAIVideos,
}


def make_provider(config: ProviderConfig, catalogue: Catalogue | None = None) -> Provider:
    """The provider these settings describe. It connects to nothing before it is entered.

    Args:
        config: Address, key and format.
        catalogue: What is known of the models; without, the built-in one.
    """
    return _FORMATS[config.name](config, catalogue or load_catalogue())
