"""Whether the prediction that an answer is about is the one that was asked for, however a gateway writes its id.

Ids are compared as they are: their letters' case and their leading zeros make other ids. Taken for the same are only spellings with a
source: percent-encoding (they stand in paths), LiteLLM's wrapping, GPTProto's ``sora-2:task_xxx`` (docs.gptproto.com, reverse format), and
UUIDs with or without dashes. new-api's ``task_…`` is an id of its own beside the upstream's, not a prefix before it: what says both is read
by ``Answer.prediction_ids``.
"""

import base64
import re
from collections.abc import Iterable
from urllib.parse import unquote

_PREFIX = "video_"
_MODEL = re.compile(r"^[\w.-]+:(?=task_)", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)


def is_other_prediction(requested: str, returned: str | None) -> bool:
    """Whether an answer names another prediction; one that names none is about what was asked."""
    return returned is not None and returned != requested and _plain(returned) != _plain(requested)


def are_other_predictions(requested: str, returned: Iterable[str]) -> bool:
    """Whether an answer names predictions, and the one that was asked for is not among them."""
    ids = tuple(returned)
    return bool(ids) and all(is_other_prediction(requested, name) for name in ids)


def _plain(prediction_id: str) -> str:
    """The upstream's own id."""
    plain = _MODEL.sub("", _unwrapped(unquote(prediction_id).strip()))
    return plain.replace("-", "").lower() if _UUID.fullmatch(plain) else plain


def _unwrapped(prediction_id: str) -> str:
    """What LiteLLM wraps, as base64 of ``litellm:custom_llm_provider:P;model_id:M;video_id:ID``.

    It leaves the model out when it is polled: the same video has two ids there.
    """
    wrapping = prediction_id.removeprefix(_PREFIX)
    try:
        inner = base64.b64decode(wrapping + "=" * (-len(wrapping) % 4), validate=True).decode()
    except ValueError:
        return prediction_id
    provider, model, video = (*inner.split(";", 2), "", "")[:3]
    wrapped = provider.startswith("litellm:") and model.startswith("model_id:")
    return video.removeprefix("video_id:") or prediction_id if wrapped else prediction_id
