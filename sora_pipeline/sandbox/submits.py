"""From what a client sent to a submit that is known to be good: model, prompt, duration, size, image.

Wire formats hand in a ``RawSubmit``; what comes out is checked against the catalogue. Raises refusals, renders nothing.
"""

import base64
import binascii
import hashlib
import io
import urllib.parse
from dataclasses import dataclass

from sora_pipeline.sandbox.catalogue import DEFAULT_SIZE, MODELS, Model
from sora_pipeline.sandbox.refusals import Problem, Refusal
from sora_pipeline.sandbox.size import Size

MAX_PROMPT = 32_000
MAX_IMAGE_BYTES = 20 * 1024 * 1024
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP")


@dataclass(frozen=True, slots=True)
class RawSubmit:
    """A submit as a wire format read it, unchecked."""

    model: str
    prompt: object
    duration: object = None
    size: object = None
    image: str | bytes | None = None  # a URL or data URI, or the file itself


@dataclass(frozen=True, slots=True)
class Submit:
    """A submit that can be rendered."""

    model: Model
    prompt: str
    duration: int
    size: Size
    image: bytes | None

    @property
    def image_sha256(self) -> str | None:
        """Hash of the image's bytes."""
        return hashlib.sha256(self.image).hexdigest() if self.image is not None else None


def read_model(name: str) -> Model:
    """The catalogue's entry."""
    if name not in MODELS:
        raise Refusal(Problem.UNKNOWN_MODEL)
    return MODELS[name]


def read_prompt(value: object) -> str:
    """A prompt with something in it."""
    if not isinstance(value, str) or not value.strip():
        raise Refusal(Problem.INVALID, "prompt is required")
    if len(value) > MAX_PROMPT:
        raise Refusal(Problem.INVALID, f"prompt is longer than {MAX_PROMPT} characters")
    if not is_text(value):
        raise Refusal(Problem.INVALID, "prompt is not valid Unicode")
    return value


def is_text(value: str) -> bool:
    """Whether it can be written down: JSON can hold half a character."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def read_duration(value: object, model: Model) -> int:
    """Seconds, as a number or as digits."""
    if value is None or value == "":
        return model.durations[0]
    digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 9
    seconds = int(value) if isinstance(value, str) and digits else value
    if isinstance(seconds, bool) or not isinstance(seconds, int) or seconds not in model.durations:
        allowed = ", ".join(map(str, sorted(model.durations)))
        raise Refusal(Problem.INVALID, f"Invalid value: {shown(value)}. Supported durations are: {allowed}")
    return seconds


def read_size(value: object, model: Model) -> Size:
    """``720x1280`` or ``720*1280``."""
    if value is None or value == "":
        return DEFAULT_SIZE
    try:
        size = Size.parse(str(value).replace("*", "x"))
    except ValueError as error:
        raise Refusal(Problem.INVALID, f"Invalid size: {shown(str(error))}") from None
    if size not in model.usd_per_second:
        allowed = ", ".join(map(str, model.usd_per_second))
        raise Refusal(
            Problem.INVALID, f"Invalid size {shown(value)} for {model.name}. Supported sizes are: {allowed}"
        )
    return size


def shown(value: object) -> str:
    """A value as an error message may repeat it."""
    return ascii(value)[:200]


def check_image(content: bytes, size: Size) -> None:
    """Whether it is a picture of exactly the frame size."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=IMAGE_FORMATS) as picture:
            picture.load()
            matches = picture.size == (size.width, size.height)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        raise Refusal(Problem.INVALID, "image is not a readable JPEG, PNG or WebP file") from None
    if not matches:
        raise Refusal(Problem.IMAGE_MISMATCH)


def decode_data_uri(uri: str) -> bytes:
    """The bytes inside ``data:image/png;base64,...``."""
    head, _, body = uri.partition(",")
    try:
        return (
            base64.b64decode(body, validate=True)
            if ";base64" in head
            else urllib.parse.unquote_to_bytes(body)
        )
    except (binascii.Error, ValueError):
        raise Refusal(Problem.INVALID, "image is not a valid data URI") from None


async def fetch(url: str) -> bytes:
    """Download an image as the provider would."""
    import httpx  # here, as it is a third of the server's start and seldom needed

    try:
        async with (
            httpx.AsyncClient(timeout=15, follow_redirects=True) as client,
            client.stream("GET", url) as answer,
        ):
            answer.raise_for_status()
            content = b""
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > MAX_IMAGE_BYTES:
                    raise Refusal(Problem.INVALID, f"image is larger than {MAX_IMAGE_BYTES} bytes")
            return content
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        raise Refusal(Problem.INVALID, "failed to download image") from None


async def read_image(value: str | bytes | None) -> bytes | None:
    """The image's bytes, downloaded or decoded; checked."""
    if value is None or value == "":
        return None
    if isinstance(value, bytes):
        content = value
    elif value.startswith("data:"):
        content = decode_data_uri(value)
    elif value.startswith(("http://", "https://")) and is_text(value):
        content = await fetch(value)
    else:
        raise Refusal(Problem.INVALID, "image must be a file, an http(s) URL or a data URI")
    if len(content) > MAX_IMAGE_BYTES:
        raise Refusal(Problem.INVALID, f"image is larger than {MAX_IMAGE_BYTES} bytes")
    return content
