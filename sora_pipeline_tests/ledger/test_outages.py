"""Connections to PostgreSQL that break in the middle: questions are asked again, transitions happen once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, event, select, text, update

from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.schema import clips
from sora_pipeline_tests.ledger.world import World

pytestmark = [pytest.mark.services, pytest.mark.parametrize("new_url", ["postgresql"], indirect=True)]


@pytest.fixture
def cut(url: str) -> Iterator[Callable[[Connection], None]]:
    """Ends a connection's process in the server, as a crash does."""
    admin = create_engine(url, isolation_level="AUTOCOMMIT")

    def end(connection: Connection) -> None:
        raw: Any = connection.connection.dbapi_connection
        with admin.connect() as other:
            assert other.scalar(text(f"SELECT pg_terminate_backend({raw.info.backend_pid}, 5000)"))

    yield end
    admin.dispose()


@contextmanager
def once(ledger: Ledger, name: str, then: Callable[[Connection], None]) -> Iterator[list[Connection]]:
    """Do something at the first of these events; gives the list of what it was done to."""
    done: list[Connection] = []

    def listener(connection: Connection, *_: Any) -> None:
        if not done:
            done.append(connection)
            then(connection)

    event.listen(ledger.database.engine, name, listener)
    yield done
    event.remove(ledger.database.engine, name, listener)


def test_question_is_asked_again(world: World, cut: Callable[[Connection], None]) -> None:
    world.register("a")
    attempt_id = world.in_flight()
    with once(world.ledger, "before_cursor_execute", cut) as done:
        assert world.attempts.get(attempt_id).state == "in_flight"
    assert done


@pytest.mark.parametrize("moment", ["before_cursor_execute", "after_cursor_execute", "commit"])
def test_transition_that_was_lost_is_made_again(
    world: World, cut: Callable[[Connection], None], moment: str
) -> None:
    world.register("a")
    attempt_id = world.submitting()
    with once(world.ledger, moment, cut) as done:
        assert world.accept(attempt_id)
    assert done
    assert world.state(attempt_id) == "in_flight"


def test_transition_whose_answer_was_lost_counts_as_made(
    world: World, cut: Callable[[Connection], None]
) -> None:
    world.register("a")
    attempt_id = world.submitting()
    before = world.ledger.productions.get(world.production_id).change_seq

    def commit_and_cut(connection: Connection) -> None:
        raw: Any = connection.connection.dbapi_connection
        raw.commit()
        cut(connection)

    with once(world.ledger, "commit", commit_and_cut) as done:
        assert world.accept(attempt_id)
    assert done
    assert world.state(attempt_id) == "in_flight"
    assert world.ledger.productions.get(world.production_id).change_seq == before + 1


def test_reservation_and_manifest_outlast_a_cut(world: World, cut: Callable[[Connection], None]) -> None:
    with once(world.ledger, "after_cursor_execute", cut) as done:
        world.register("a", "b")
    assert done
    with once(world.ledger, "after_cursor_execute", cut) as done:
        assert [each.clip_id for each in world.try_reserve("a", "b")] == ["a", "b"]
    assert done


def test_view_is_consistent_whatever_is_committed_meanwhile(world: World) -> None:
    world.register("a")
    position = select(clips.c.position).where(clips.c.clip_key == world.key("a"))
    with world.ledger.database.read() as reader:
        before = reader.scalar(position)
        with world.ledger.database.write() as writer:
            writer.execute(update(clips).where(clips.c.clip_key == world.key("a")).values(position=99))
        assert reader.scalar(position) == before
    with world.ledger.database.read() as reader:
        assert reader.scalar(position) == 99
