"""Accounts: where each was last, so that one name never stands for two addresses while predictions are open there."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, func, select, update

from sora_pipeline.amounts import counted
from sora_pipeline.ledger.database import Database, LedgerError, patient
from sora_pipeline.ledger.schema import LIVE, accounts, among_live, attempts
from sora_pipeline.ledger.types import Account, AttemptState

_AT_THE_PROVIDER = (
    AttemptState.SUBMITTING,
    AttemptState.IN_FLIGHT,
    AttemptState.SUCCEEDED,
    AttemptState.TIMED_OUT,
    AttemptState.AMBIGUOUS,
)


class Accounts:
    """Notes and checks addresses."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @patient
    def use(self, account: Account, address: str) -> None:
        """Say where an account is; it may move while nothing of it is open.

        Raises:
            LedgerError: it is somewhere else, with open predictions that only that place knows; or attempts were made with
                it that are as real as these would be simulated, or the other way round.
        """
        this_account = accounts.c.account == account.name
        place = {"provider": account.provider, "address": address}
        with self._database.read() as connection:
            known = connection.execute(select(accounts).where(this_account)).first()
        if known is not None and (known.provider, known.address) == (account.provider, address):
            return
        with self._database.exclusive() as connection:
            self._require_place(connection, account, address)
            if connection.execute(update(accounts).where(this_account).values(**place)).rowcount == 0:
                connection.execute(accounts.insert().values(account=account.name, **place))

    @patient
    def require_place(self, account: Account, address: str) -> None:
        """Ask whether an account may be used at an address; nothing is noted.

        Raises:
            LedgerError: as in ``use``.
        """
        with self._database.read() as connection:
            self._require_place(connection, account, address)

    @patient
    def address_of(self, name: str) -> str | None:
        """Where an account was last, if anybody said so."""
        with self._database.read() as connection:
            address: str | None = connection.scalar(
                select(accounts.c.address).where(accounts.c.account == name)
            )
        return address

    def _require_place(self, connection: Connection, account: Account, address: str) -> None:
        known = connection.execute(select(accounts).where(accounts.c.account == account.name)).first()
        if known is None or known.provider != account.provider:
            self._refuse_other_kind(connection, account)
        # An emulator is started again where a port is free, and keeps its predictions.
        if known is not None and known.address != address and not account.simulated:
            self._refuse_to_move(connection, account, known.address, address)

    def _refuse_other_kind(self, connection: Connection, account: Account) -> None:
        """Slots, breaker and the day's budget are by name: real and simulated ones must not share it."""
        others = select(attempts.c.attempt_id).where(
            attempts.c.account == account.name, attempts.c.simulated != account.simulated
        )
        if connection.scalar(others.limit(1)) is not None:
            was, is_now = ("real", "simulated") if account.simulated else ("simulated", "real")
            raise LedgerError(
                f"what the account {account.name} has made in this ledger is {was}, and is now said to be {is_now}: "
                "neither slots nor money of the two may be counted together",
                "account_taken",
            )

    def _refuse_to_move(self, connection: Connection, account: Account, was: str, is_now: str) -> None:
        query = (
            select(func.count(attempts.c.state))
            .where(LIVE, attempts.c.state.in_(_AT_THE_PROVIDER))
            .where(among_live(attempts.c.account) == account.name)
        )
        if still_open := connection.scalar(query):
            raise LedgerError(
                f"the account {account.name} has {counted(still_open, 'prediction')} open at {was}, and is now said to be at {is_now}, "
                "which knows nothing of that",
                "account_moved",
            )
