"""Foreign text made fit for logs, tables and screens: no key, no URI with a secret, no control characters, bounded length."""

import re

from sora_pipeline.uris import without_secrets

MESSAGE_LENGTH = 500
KEY_MARK = "[key]"

_BEARER = re.compile(r"(?i)\b(bearer)\s+[A-Za-z0-9._~+/=-]{6,}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\s]+")


def tidy(text: str, *, secret: str = "") -> str:
    """The text on one line, with the key redacted where the provider echoed it, cut to 500 characters.

    Redaction comes before cutting, so that half a key cannot survive at the end.
    """
    if secret:
        text = text.replace(secret, KEY_MARK)
    text = _BEARER.sub(rf"\1 {KEY_MARK}", text)
    # A lone surrogate is legal in JSON and fatal in every database and file.
    text = text.encode("utf-8", "replace").decode("utf-8")
    # A provider that could not read an image repeats its address, signature included.
    text = without_secrets(_UNPRINTABLE.sub(" ", text).strip())
    return text if len(text) <= MESSAGE_LENGTH else text[: MESSAGE_LENGTH - 1] + "…"
