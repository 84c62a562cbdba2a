"""From settings to a provider."""

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


def make_provider(config: ProviderConfig) -> Provider:
    """The provider these settings describe. It connects to nothing before it is entered."""
    return _FORMATS[config.name](config)
