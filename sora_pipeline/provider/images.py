"""How the first frame travels: as a URL, inside the JSON, or as a file part."""

import base64

from sora_pipeline.provider.errors import ErrorKind, RejectedError
from sora_pipeline.provider.http import FilePart
from sora_pipeline.provider.protocol import ImageTransport, InputImage

_EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


def image_reference(image: InputImage, transport: ImageTransport) -> str:
    """The image as one string for a JSON field: its public URL, or a data URI.

    ``AUTO`` prefers the URL: every documented v3 example and every client sends one, while nobody has seen a data URI
    accepted there. A local file has no URL, and then a data URI is the only thing left to try.

    Raises:
        RejectedError: a URL is asked for, and the image has none.
    """
    if transport is ImageTransport.URL and image.url is None:
        raise RejectedError(
            ErrorKind.INVALID_REQUEST,
            "the image has no public URL that fits as it is, and the image transport is 'url': "
            "publish a fitting image, or choose 'data-uri' or 'auto'",
        )
    if image.url is not None and transport is not ImageTransport.DATA_URI:
        return image.url
    return f"data:{image.media_type};base64,{base64.b64encode(image.content).decode('ascii')}"


def image_file(image: InputImage) -> FilePart:
    """The image as a file part: name, bytes, media type."""
    return f"image.{_EXTENSIONS.get(image.media_type, 'bin')}", image.content, image.media_type
