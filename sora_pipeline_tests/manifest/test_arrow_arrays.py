"""Arrays of our own making, against those that pyarrow makes of the same values."""

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sora_pipeline.manifest.arrow_arrays import arrow_array

INT32, INT64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
MOMENT = st.datetimes(
    min_value=datetime(1900, 1, 1),
    timezones=st.just(UTC),
)
KINDS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.string(): TEXT,
    pa.bool_(): st.booleans(),
    pa.int32(): INT32,
    pa.int64(): INT64,
    pa.float64(): st.floats(allow_nan=False),
    pa.timestamp("us", tz="UTC"): MOMENT,
    pa.list_(pa.string()): st.lists(st.none() | TEXT, max_size=4),
    pa.list_(pa.bool_()): st.lists(st.none() | st.booleans(), max_size=4),
    pa.list_(pa.int64()): st.lists(st.none() | INT64, max_size=4),
    pa.list_(pa.float64()): st.lists(st.none() | st.floats(allow_nan=False), max_size=4),
}


@pytest.mark.parametrize("kind", KINDS, ids=str)
@settings(deadline=None)
@given(data=st.data())
def test_they_are_those_of_pyarrow(kind: pa.DataType, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.none() | KINDS[kind], max_size=20))
    made = arrow_array(values, kind)
    made.validate(full=True)
    assert made.equals(pa.array(values, kind))


@pytest.mark.parametrize(
    ("value", "kind"),
    [("1", pa.int64()), (2**31, pa.int32()), (1, pa.string()), (2**63, pa.int64())],
    ids=str,
)
def test_values_of_another_kind_are_refused(value: Any, kind: pa.DataType) -> None:
    with pytest.raises((TypeError, OverflowError, AttributeError)):
        arrow_array([value], kind)


def test_nothing_imports_pandas_for_them() -> None:
    code = (
        "import sys, pyarrow as pa; from sora_pipeline.manifest.arrow_arrays import arrow_array; "
        "import pyarrow.parquet as pq; array = arrow_array(['a', None], pa.string()); "
        "pq.write_table(pa.Table.from_arrays([array], names=['a']), pa.BufferOutputStream()); print('pandas' in sys.modules)"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "False"
