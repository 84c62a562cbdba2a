"""The plain row type every room exchanges: one clip that the manifest asks for.

Knows nothing of files, HTTP, SQL or Dagster.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring as _quoted
from typing import Any

from sora_pipeline.uris import Uri


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """A frame size in pixels, written ``WIDTHxHEIGHT`` in manifests and on the wire."""

    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> "Size":
        """Read ``720x1280``.

        Raises:
            ValueError: the text is not two positive integers joined by ``x``.
        """
        width, cross, height = text.strip().lower().partition("x")
        if not (cross and width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
            raise ValueError(f"{text!r} is not a size such as 720x1280")
        size = cls(int(width), int(height))
        if not (size.width and size.height):
            raise ValueError(f"{text!r} is not a size such as 720x1280")
        return size

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def canonical_json(values: Mapping[str, Any]) -> str:
    """JSON that is the same for the same values, whatever their order."""
    return json.dumps(dict(values), ensure_ascii=False, sort_keys=True)


KEY_SEPARATOR = ":"
"""Between production and clip id in a clip's key; neither may hold it."""


def clip_key(production_id: str, clip_id: str) -> str:
    """A clip's identity over all productions of a ledger, which is also its partition key in Dagster."""
    return f"{production_id}{KEY_SEPARATOR}{clip_id}"


def split_clip_key(key: str) -> tuple[str, str]:
    """Production and clip id of a clip's key.

    Raises:
        ValueError: the text is no such key.
    """
    production_id, separator, clip_id = key.partition(KEY_SEPARATOR)
    if not (production_id and separator and clip_id):
        raise ValueError(f"{key!r} is not a clip's key such as monday{KEY_SEPARATOR}001")
    return production_id, clip_id


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip as the manifest asks for it: validated, defaults filled in, one take.

    Attributes:
        clip_id: Folder name and a part of the partition key; ``[A-Za-z0-9_.-]``, unique in its production.
        row_number: The manifest row it came from; the first row below the header is 1.
        prompt: What is to be seen.
        image: Absolute path or URI of the first frame, or None for text only.
        image_sha256: Hash of the image file's bytes as they were when the manifest was read.
        model: The provider's model name, for example ``sora-2-pro``.
        simulated: Whether an emulator is to make it, and not a real provider.
        duration: Seconds.
        size: Frame size in pixels.
        take: 1 for the first take of a row, 2 for the second, ...
        carried: Every other column of the row, as JSON values, carried through to the output.
        parameters: What further parameters of the model the row sets, as JSON values; their columns are carried as well.
    """

    clip_id: str
    row_number: int
    prompt: str
    image: Uri | None
    image_sha256: str | None
    model: str
    simulated: bool
    duration: int
    size: Size
    take: int = 1
    carried: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of everything that decides how the video looks: the clip's data version.

        Same fingerprint and already delivered means that nothing is ever submitted again. Neither the account nor its
        wire format is part of it: a real video stays what it is when the provider's API changes.
        """
        maker = "simulated" if self.simulated else "real"
        image = "null" if self.image_sha256 is None else _quoted(self.image_sha256)
        # JSON as json.dumps writes it, in a third of its time: a manifest may have a million rows.
        decisive = f'[{_quoted(self.prompt)}, {image}, {self.duration}, "{self.size}", {_quoted(self.model)}, "{maker}"'
        # Only where there are any: fingerprints of clips without them are what they always were.
        decisive += f", {canonical_json(self.parameters)}]" if self.parameters else "]"
        return hashlib.sha256(decisive.encode()).hexdigest()

    @property
    def row_hash(self) -> str:
        """Hex SHA-256 of all that the row says, but for where it stands: what a person may have amended.

        An image that is signed anew each day does not change the row.
        """
        content = [
            self.fingerprint,
            self.clip_id,
            self.image and self.image.shown,
            self.take,
            dict(self.carried),
        ]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
