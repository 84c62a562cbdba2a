import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sora_pipeline.production.gallery.chunks import Chunks, as_script


class Files:
    """Keeps what is put, in order."""

    def __init__(self) -> None:
        self.contents: list[Any] = []

    def put(self, kind: str, content: bytes) -> str:
        self.contents.append(json.loads(content.decode().removeprefix("galleryData(").removesuffix(")\n")))
        return f"{kind}-{len(self.contents)}"


def _values(column: Any, count: int) -> list[Any]:
    if isinstance(column, list):
        return column
    return [column["values"][code] for code in column.get("codes", [0] * count)]


@given(
    st.lists(
        st.tuples(st.text(max_size=5), st.sampled_from("abc"), st.none() | st.text(max_size=9)), max_size=40
    )
)
def test_rows_come_back_as_they_were_in_files_of_bounded_length(rows: list[tuple[Any, ...]]) -> None:
    files = Files()
    chunks = Chunks("list", ("one", "two"), rows=7, chars=10**6, put=files.put)
    for row in rows:
        chunks.add(row, 10)
    chunks.flush()
    assert [count for _, count in chunks.files] == [
        min(7, len(rows) - start) for start in range(0, len(rows), 7)
    ]
    back: list[tuple[Any, ...]] = []
    for content, (_, count) in zip(files.contents, chunks.files, strict=True):
        columns = [_values(content[name], count) for name in ("one", "two")]
        back.extend(zip(*columns, *(_values(column, count) for column in content["carried"]), strict=True))
    assert back == rows


def test_long_rows_make_files_of_fewer_rows() -> None:
    files = Files()
    chunks = Chunks("list", ("text",), rows=100, chars=1000, put=files.put)
    for _ in range(10):
        chunks.add(("x" * 400,), 400)
    chunks.flush()
    assert [count for _, count in chunks.files] == [3, 3, 3, 1]


def test_full_file_hands_out_its_columns_to_be_counted() -> None:
    chunks = Chunks("list", ("text",), rows=2, chars=1000, put=Files().put)
    assert chunks.add(("a",), 1) == []
    assert chunks.add(("b",), 1) == [("a", "b")]
    assert chunks.flush() == []


@given(st.text(alphabet=st.characters()) | st.sampled_from(["\u2028", "</script>", "\ud800", "é"]))
def test_script_is_ascii_whatever_is_in_a_cell(text: str) -> None:
    script = as_script({"cell": text})
    assert script.isascii()
    assert b"\n" not in script[:-1]
    assert json.loads(script[len("galleryData(") : -2]) == {"cell": text}
