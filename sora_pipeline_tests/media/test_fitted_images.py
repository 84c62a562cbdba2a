import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from sora_pipeline.clip import Size
from sora_pipeline.media import fitted_images
from sora_pipeline.media.fit import ImageFit
from sora_pipeline.media.fitted_images import FittedImages
from sora_pipeline.media.images import ImageError
from sora_pipeline_tests.media.conftest import encoded, picture

SIZE = Size(72, 128)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URIs that were really read, in order."""
    seen: list[str] = []
    read = fitted_images.image_file

    def counted(uri: str, **_: object) -> AbstractContextManager[bytes]:
        seen.append(uri)
        time.sleep(0.02)  # long enough for other threads to arrive
        return read(uri)

    monkeypatch.setattr(fitted_images, "image_file", counted)
    return seen


def image(folder: Path, name: str = "cup.png") -> str:
    path = folder / name
    path.write_bytes(encoded(picture()))
    return str(path)


def test_an_image_used_by_1000_rows_is_read_once(tmp_path: Path, reads: list[str]):
    images, uri = FittedImages(), image(tmp_path)

    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(lambda _: images.get(uri, SIZE, ImageFit.ERROR), range(1000)))

    assert reads == [uri]
    assert all(result is results[0] for result in results)


def test_every_size_and_fit_is_an_image_of_its_own(tmp_path: Path):
    images, uri = FittedImages(), image(tmp_path)

    assert images.get(uri, Size(10, 20), ImageFit.CROP).width == 10
    assert images.get(uri, Size(20, 10), ImageFit.CROP).width == 20
    assert images.get(uri, Size(20, 10), ImageFit.PAD).action.startswith("padded")


def test_what_was_used_longest_ago_goes_first(tmp_path: Path, reads: list[str]):
    a, b, c = (image(tmp_path, name) for name in ("a.png", "b.png", "c.png"))
    one = len(Path(a).read_bytes())
    images = FittedImages(limit_bytes=2 * one)

    for uri in (a, b, a, c, a, b):
        images.get(uri, SIZE, ImageFit.ERROR)

    assert reads == [a, b, c, b]
    assert images.held_bytes == 2 * one


def test_an_image_larger_than_the_cache_is_returned_and_not_kept(tmp_path: Path, reads: list[str]):
    images, uri = FittedImages(limit_bytes=10), image(tmp_path)

    assert images.get(uri, SIZE, ImageFit.ERROR).content
    assert images.get(uri, SIZE, ImageFit.ERROR).content
    assert (len(reads), images.held_bytes) == (2, 0)


def test_a_permanent_problem_is_remembered_and_told_to_everyone(tmp_path: Path, reads: list[str]):
    images, uri = FittedImages(), image(tmp_path)

    def message(_: int) -> str:
        with pytest.raises(ImageError) as caught:
            images.get(uri, Size(10, 10), ImageFit.ERROR)
        return caught.value.message

    with ThreadPoolExecutor(8) as threads:
        messages = set(threads.map(message, range(50)))

    assert len(messages) == 1
    assert uri in messages.pop()
    assert reads == [uri]


def test_a_transient_problem_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images, uri = FittedImages(), image(tmp_path)
    with monkeypatch.context() as broken:

        def fail(uri: str, **_: object) -> bytes:
            raise ImageError("the server is busy", transient=True)

        broken.setattr(fitted_images, "image_file", fail)
        with pytest.raises(ImageError) as caught:
            images.get(uri, SIZE, ImageFit.ERROR)
        assert caught.value.transient

    assert images.get(uri, SIZE, ImageFit.ERROR).content


def test_a_slow_image_does_not_hold_up_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images, slow, quick = FittedImages(), image(tmp_path, "slow.png"), image(tmp_path, "quick.png")
    release, read = threading.Event(), fitted_images.image_file

    def waiting(uri: str, **_: object) -> AbstractContextManager[bytes]:
        if uri == slow:
            assert release.wait(10)
        return read(uri)

    monkeypatch.setattr(fitted_images, "image_file", waiting)
    with ThreadPoolExecutor(2) as threads:
        held_up = threads.submit(images.get, slow, SIZE, ImageFit.ERROR)
        assert images.get(quick, SIZE, ImageFit.ERROR).content
        assert not held_up.done()
        release.set()
        assert held_up.result(10).content
