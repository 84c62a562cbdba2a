"""Links to single files of a production's output, signed, so that whoever has one can see that file and no other.

A link is kept in Dagster's event log for ever; it ends all the same, and materializing its clip again gives a new one for nothing.
"""

import base64
import hashlib
import hmac
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from sora_pipeline.media_server.keys import KEY_FILE, MediaKeyError, make_key, read_key
from sora_pipeline.settings import Settings

DEFAULT_PORT = 3001
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"
"""Where `sora-pipeline dev` and `sora-pipeline media` serve, unless they are told otherwise."""
LASTS_DAYS = 90
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class MediaLinks:
    """Makes links, and knows those that it has made.

    Attributes:
        address: Of the media server.
        key: What they are signed with.
    """

    address: str
    key: bytes = field(repr=False)

    def to(self, production_id: str, path: str) -> str:
        """A link to a file of an output; two that are made on one day are the same, so that browsers keep what they loaded.

        Args:
            production_id: Whose output it is.
            path: Relative to the output.
        """
        until = (int(time.time()) // _DAY_S + 1 + LASTS_DAYS) * _DAY_S
        signature = self._signature(production_id, path, until)
        return f"{self.address.rstrip('/')}/media/{quote(production_id)}/{quote(path)}?until={until}&sig={signature}"

    def is_ours(self, production_id: str, path: str, until: int, signature: str) -> bool:
        """Whether a link was made with this key, whether it has ended or not."""
        made = self._signature(production_id, path, until)
        return hmac.compare_digest(made.encode(), signature.encode())

    def _signature(self, production_id: str, path: str, until: int) -> str:
        message = f"{production_id}\n{path}\n{until}".encode()
        digest = hmac.digest(self.key, message, hashlib.sha256)[:18]
        return base64.urlsafe_b64encode(digest).decode("ascii")


def media_links(settings: Settings, home: Path) -> MediaLinks | None:
    """Links as the settings want them; None: nobody is known to serve them.

    A home that our own commands have made has a key, and its media server at the usual address. Elsewhere the
    setting says that there is one.
    """
    if settings.media_url is not None:
        with suppress(OSError):  # read_key decides
            make_key(home)
    elif not (home / KEY_FILE).exists():
        return None
    try:
        return MediaLinks(settings.media_url or DEFAULT_URL, read_key(home))
    except MediaKeyError:  # no clip fails for want of a link; the server says what is wrong
        return None
