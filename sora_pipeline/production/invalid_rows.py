"""Rows of a production's newest reading that cannot be made, for whoever asks for these alone, and not for all of its clips."""

from collections.abc import Iterator
from itertools import islice

from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.manifest.reported_ids import invalid_ids
from sora_pipeline.manifest.snapshot import InvalidRow
from sora_pipeline.production.intake import newest_invalid_rows

_AT_A_TIME = 500


def invalid_rows(ledger: Ledger, production: Production) -> Iterator[tuple[InvalidRow, str]]:
    """The rows that cannot be made, with the ids they are reported by; one that was amended is invalid no more.

    Raises:
        StoreError: the output cannot be read.
    """
    rows = iter(invalid_ids(newest_invalid_rows(production)))
    while some := list(islice(rows, _AT_A_TIME)):
        amended = ledger.clips.wanted_among(
            production.production_id, [reported_id for _, reported_id in some]
        )
        yield from (row for row in some if row[1] not in amended)
