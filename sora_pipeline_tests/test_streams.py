"""Sequences that are not held, and where their items are kept meanwhile."""

import gc
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_pipeline.spool import CHUNK_BYTES, Spool, SpoolError
from sora_pipeline.spooled_list import SpooledList
from sora_pipeline.streams import STRETCH, Streamed, in_stretches, stretches


def streamed(length: int) -> Streamed[int]:
    return Streamed(length, lambda: iter(range(length)))


@given(
    length=st.integers(0, 12),
    start=st.none() | st.integers(-15, 15),
    stop=st.none() | st.integers(-15, 15),
    step=st.none() | st.integers(-4, 4).filter(bool),
)
def test_a_streamed_sequence_is_sliced_as_a_tuple_is(
    length: int, start: int | None, stop: int | None, step: int | None
) -> None:
    assert streamed(length)[start:stop:step] == tuple(range(length))[start:stop:step]


def test_a_streamed_sequence_is_what_a_tuple_of_its_items_is() -> None:
    items = streamed(5)
    assert items == tuple(range(5)) == items
    assert items != tuple(range(4))
    assert items != (0, 1, 2, 3, 5)
    assert (items[0], items[-1], len(items), bool(items), bool(streamed(0))) == (0, 4, 5, True, False)
    with pytest.raises(IndexError):
        items[5]
    assert list(items.mapped(str)) == ["0", "1", "2", "3", "4"]


def test_stretches_are_as_long_as_they_may_be_and_shorter_where_their_items_are_heavy() -> None:
    assert [len(stretch) for stretch in stretches(range(2 * STRETCH + 1))] == [STRETCH, STRETCH, 1]
    weighed = stretches([5, 5, 5, 20, 1], 10, weigh=int, heaviest=10)
    assert list(weighed) == [[5, 5], [5, 20], [1]]
    changed = in_stretches(lambda stretch: [len(stretch)] * len(stretch), streamed(STRETCH + 2))
    assert (len(changed), changed[0], changed[-1]) == (STRETCH + 2, STRETCH, 2)


TEXTS = st.text(st.characters(codec=None)) | st.sampled_from(["", "\0", "\ud800", "\u2028", '"', "猫"])


@given(st.lists(st.tuples(TEXTS, st.none() | st.integers() | st.floats(allow_nan=False))))
def test_a_spooled_list_gives_back_what_was_added(items: list[tuple[str, object]]) -> None:
    spooled = SpooledList[tuple[str, object]](list, tuple)
    for item in items:
        spooled.append(item)
    assert spooled.items() == items


def test_a_spooled_list_is_read_again_while_more_is_added() -> None:
    spooled = SpooledList[int](lambda number: number, lambda number: number)
    for number in range(STRETCH + 10):
        spooled.append(number)
    before = spooled.items()
    for number in range(3 * STRETCH):
        spooled.append(number)
    assert before == tuple(range(STRETCH + 10))
    assert len(spooled.items()) == len(spooled) == 4 * STRETCH + 10


def test_readers_of_a_spool_are_each_at_a_place_of_their_own() -> None:
    content = bytes(range(256)) * (3 * CHUNK_BYTES // 256)
    spool = Spool()
    for start in range(0, len(content), 100_000):
        spool.write(content[start : start + 100_000])

    def read(_number: int) -> bytes:
        with spool.open() as stream:
            return stream.read()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(read, range(8))) == {content}
    assert spool.read(1000, 24) == content[1000:1024]
    assert (spool.size, spool.read(spool.size - 2)) == (len(content), content[-2:])


def test_a_spool_has_no_name_and_its_space_is_given_back() -> None:
    spool = Spool.of(b"secret")
    descriptor = spool._descriptor
    assert os.fstat(descriptor).st_nlink == 0
    del spool
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_full_disk_is_named_with_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(SpoolError, match=r"temporary files cannot be written in /.*: there is no space left"):
        spool.write(b"x")
