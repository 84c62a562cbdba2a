"""Small copies of the images that clips begin with, beside the videos: the gallery shows both, wherever it is opened."""

import hashlib

from sora_pipeline.clip import Clip
from sora_pipeline.media.images import image_file
from sora_pipeline.media.thumbnail import thumbnail
from sora_pipeline.uris import is_http

INPUT_IMAGES = ".images"


def input_image_name(clip: Clip) -> str | None:
    """Where the copy of a clip's image lies, relative to the output; None: there is to be none.

    Images on the web have none: a host that does not answer would hold up the delivery of a paid video.
    """
    if clip.image is None or clip.image_sha256 is None or is_http(clip.image.reveal()):
        return None
    return f"{INPUT_IMAGES}/{clip.image_sha256}.jpg"


def small_input_image(clip: Clip) -> bytes:
    """The copy itself, as JPEG.

    Raises:
        ImageError: the image cannot be read.
        ValueError: it is not the one any more that the clip was made with, or Pillow cannot read it.
    """
    if clip.image is None:
        raise ValueError(f"{clip.clip_id} begins with no image")
    with image_file(clip.image.reveal()) as content:
        if hashlib.sha256(content).hexdigest() != clip.image_sha256:
            raise ValueError(f"the image {clip.image} has changed since the manifest was read")
        return thumbnail(content)
