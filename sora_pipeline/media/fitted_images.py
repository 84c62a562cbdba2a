"""Remembers fitted images for the length of one step, so that a logo used by 1,000 rows is read and fitted once."""

from collections import OrderedDict
from concurrent.futures import Future
from threading import Lock

from sora_pipeline.clip import Size
from sora_pipeline.media.fit import FittedImage, ImageFit, fit_image
from sora_pipeline.media.images import ImageError, SocketFactory, display_name, image_file
from sora_pipeline.media.memory import MIB

_Key = tuple[str, Size, ImageFit]


class FittedImages:
    """A thread-safe cache of fitted images, bounded in bytes; what was used longest ago goes first.

    Make one for each step: it does not notice when a file changes. What is permanently wrong with an image is
    remembered too; a transient failure is not, the next caller tries again.

    Args:
        limit_bytes: The most that fitted images together may take.
        socket_factory: As for ``read_image``.
    """

    def __init__(self, limit_bytes: int = 256 * MIB, *, socket_factory: SocketFactory | None = None) -> None:
        self._limit_bytes = limit_bytes
        self._socket_factory = socket_factory
        self._held_bytes = 0
        self._images: OrderedDict[_Key, Future[FittedImage]] = OrderedDict()
        self._lock = Lock()

    @property
    def held_bytes(self) -> int:
        """Bytes of all images held."""
        return self._held_bytes

    def get(self, uri: str, size: Size, fit: ImageFit) -> FittedImage:
        """Read and fit an image, or wait for the thread that already does, or return what is remembered.

        Raises:
            ImageError: as ``read_image`` and ``fit_image``.
        """
        key = (uri, size, fit)
        with self._lock:
            known = self._images.get(key)
            if known is not None:
                self._images.move_to_end(key)
                to_make = None
            else:
                known = to_make = self._images[key] = Future()
        if to_make is not None:
            self._make(key, to_make)
        try:
            return known.result()
        except ImageError as problem:
            # A new exception each time: threads that raise one and the same object write over its traceback.
            raise ImageError(problem.message, transient=problem.transient, code=problem.code) from None

    def _make(self, key: _Key, future: Future[FittedImage]) -> None:
        uri, size, fit = key
        try:
            with image_file(uri, socket_factory=self._socket_factory) as content:
                image = fit_image(content, size, fit, name=display_name(uri))
        except BaseException as error:
            if not isinstance(error, ImageError) or error.transient:
                with self._lock:
                    self._images.pop(key, None)
            future.set_exception(error)
            return
        with self._lock:
            self._held_bytes += len(image.content)
            future.set_result(image)
            self._shrink()

    def _shrink(self) -> None:
        for key, future in list(self._images.items()):
            if self._held_bytes <= self._limit_bytes:
                return
            if future.done() and not future.exception():
                del self._images[key]
                self._held_bytes -= len(future.result().content)
