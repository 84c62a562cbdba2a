"""A process of another version than the one that migrates, as ``test_upgrade.py`` starts it: it says what it does, line by line."""

import sys
import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import MetaData, create_engine

from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.database import LedgerError
from sora_pipeline.ledger.schema import UtcDateTime

LEASE_S = 20.0


def hold_a_batch(url: str) -> None:
    """A run of an earlier version: renews its lease until it is told to end."""
    engine = create_engine(url)
    tables = MetaData()
    tables.reflect(engine, only=["batches"])
    batches = tables.tables["batches"]
    batches.columns["lease_until"].type = UtcDateTime()
    row = {"batch_id": "held", "submit_tries": 1, "pipeline": "", "keys": [], "run_id": "run"}
    with engine.begin() as connection:
        until = datetime.now(UTC) + timedelta(seconds=LEASE_S)
        now = datetime.now(UTC).replace(tzinfo=None)
        connection.execute(batches.insert().values(**row, created_at=now, begun_at=now, lease_until=until))
    print("at work", flush=True)
    sys.stdin.readline()
    with engine.begin() as connection:
        connection.execute(batches.update().values(ended_at=datetime.now(UTC).replace(tzinfo=None)))
    print("ended", flush=True)


def write_until_refused(url: str) -> None:
    """A process of this version that writes again and again."""
    ledger = Ledger(url)
    written = 0
    try:
        while True:
            ledger.batches.next_try("written")
            written += 1
            if written == 1:
                print("at work", flush=True)
            time.sleep(0.02)
    except LedgerError as error:
        print(written, error, flush=True)


if __name__ == "__main__":
    {"hold": hold_a_batch, "write": write_until_refused}[sys.argv[1]](sys.argv[2])
