"""Whether the prediction that an answer is about is the one that was asked for, however a gateway writes its id."""

import base64

_PREFIX = "video_"


def is_other_prediction(requested: str, returned: str | None) -> bool:
    """Whether an answer names another prediction; one that names none is about what was asked."""
    return returned is not None and returned != requested and _plain(returned) != _plain(requested)


def _plain(prediction_id: str) -> str:
    """The upstream's own id.

    LiteLLM wraps it, as base64 of ``litellm:custom_llm_provider:P;model_id:M;video_id:ID``, and leaves the model out when
    it is polled: the same video has two ids there.
    """
    try:
        inner = base64.b64decode(prediction_id.removeprefix(_PREFIX), validate=True).decode()
    except ValueError:
        return prediction_id
    provider, model, video = (*inner.split(";", 2), "", "")[:3]
    wrapped = provider.startswith("litellm:") and model.startswith("model_id:")
    return video.removeprefix("video_id:") or prediction_id if wrapped else prediction_id
