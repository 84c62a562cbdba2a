"""A list that is written once, item by item, and read as often as one likes, without being held: as JSON in a temporary file."""

import itertools
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from sora_pipeline import streams
from sora_pipeline.spool import Spool
from sora_pipeline.streams import Streamed

Item = TypeVar("Item")

_BLOCK_CHARS = 1 << 20
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class SpooledList(Generic[Item]):
    """Items in blocks of some thousand, packed.

    Args:
        pack: An item as JSON values.
        unpack: The item that ``pack`` made them of.
    """

    def __init__(self, pack: Callable[[Item], Any], unpack: Callable[[Any], Item]) -> None:
        self._pack = pack
        self._unpack = unpack
        self._spool = Spool()
        self._block: list[str] = []
        self._block_chars = 0
        self._blocks: list[tuple[int, int]] = []
        self._length = 0
        self.chars = 0
        """How much all items come to before they are packed."""

    def __len__(self) -> int:
        return self._length

    def append(self, item: Item) -> None:
        """Add an item.

        Raises:
            SpoolError: there is no space for it.
        """
        written = _encode(self._pack(item))
        self._block.append(written)
        self._block_chars += len(written)
        self._length += 1
        if len(self._block) >= streams.STRETCH or self._block_chars >= _BLOCK_CHARS:
            self._end_block()

    def _end_block(self) -> None:
        # Lone halves of characters, which JSON can hold and UTF-8 cannot, come back as they were.
        content = zlib.compress(f"[{','.join(self._block)}]".encode(errors="surrogatepass"), level=1)
        self._blocks.append((self._spool.size, len(content)))
        self._spool.write(content)
        self.chars += self._block_chars
        self._block, self._block_chars = [], 0

    def items(self) -> Streamed[Item]:
        """Everything that was added up to now."""
        if self._block:
            self._end_block()
        blocks = tuple(self._blocks)
        return Streamed(self._length, lambda: itertools.chain.from_iterable(map(self._read, blocks)))

    def _read(self, block: tuple[int, int]) -> Iterator[Item]:
        content = zlib.decompress(self._spool.read(*block))
        return map(self._unpack, json.loads(content.decode(errors="surrogatepass")))
