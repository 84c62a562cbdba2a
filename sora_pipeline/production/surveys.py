"""How a production stands, clip by clip, a stretch at a time: for whoever tells of all its clips, however many there are."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

from sora_pipeline.admission.holds import Admission
from sora_pipeline.advice import explained
from sora_pipeline.clip import Clip, Size
from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.ledger.surveys import Moment
from sora_pipeline.ledger.types import Failure
from sora_pipeline.manifest.carried import CarriedColumns
from sora_pipeline.manifest.output import OutputRow
from sora_pipeline.manifest.reported_ids import InvalidIds, invalid_ids
from sora_pipeline.manifest.snapshot import InvalidRow, Snapshot
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.production.intake import newest_snapshot
from sora_pipeline.production.outcomes import outcome_of
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline.settings import Settings

_INVALID_ROWS = 500
"""Invalid rows that are held at a time."""


class Survey:
    """A production as it is at one moment.

    Attributes:
        moment: The ledger's view of it.
        snapshot: Its newest reading; rows that were amended since are not in it.
    """

    def __init__(
        self,
        moment: Moment,
        production: Production,
        snapshot: Snapshot,
        hold_of: Callable[[Clip], Failure | None],
        max_attempts: int,
    ) -> None:
        self.moment = moment
        self.snapshot = snapshot
        self._output_uri = production.output_uri
        self._hold_of = hold_of
        self._max_attempts = max_attempts
        self._invalid_ids: InvalidIds | None = None

    def clips(self) -> Iterator[list[tuple[Clip, ClipOutcome]]]:
        """The clips that it wants and how they stand, in the manifest's order."""
        for stretch in self.moment.clips():
            yield [
                (
                    surveyed.clip,
                    outcome_of(
                        surveyed,
                        output_uri=self._output_uri,
                        max_attempts=self._max_attempts,
                        hold_of=self._hold_of,
                    ),
                )
                for surveyed in stretch
            ]

    def invalid(self) -> Iterator[tuple[InvalidRow, str]]:
        """The rows that cannot be made, with the ids they are reported by; one that was amended is invalid no more."""
        if self._invalid_ids is None:
            self._invalid_ids = invalid_ids(self.snapshot)
        rows = iter(self._invalid_ids)
        while some := list(islice(rows, _INVALID_ROWS)):
            wanted = self.moment.wanted_among(reported_id for _, reported_id in some)
            yield from (row for row in some if row[1] not in wanted)

    def rows(self) -> Iterator[list[OutputRow]]:
        """All rows in the manifest's order: the clips, and the rows that cannot be made, each where it stands."""
        invalid = self.invalid()
        bad = next(invalid, None)
        for stretch in self.clips():
            if bad is None:
                yield list(stretch)
                continue
            rows: list[OutputRow] = []
            for clip, outcome in stretch:
                while bad is not None and bad[0].row_number < clip.row_number:
                    rows.append(bad)
                    bad = next(invalid, None)
                rows.append((clip, outcome))
            yield rows
        while bad is not None:
            yield [bad, *islice(invalid, _INVALID_ROWS)]
            bad = next(invalid, None)


def carried_columns(survey: Survey, look: Callable[[Iterable[str]], None] = lambda _: None) -> CarriedColumns:
    """The columns that its rows carry through.

    Args:
        survey: The production.
        look: Gets the ids of all rows, some at a time.
    """
    columns = CarriedColumns(survey.snapshot.carried_columns)
    for stretch in survey.moment.carried():
        columns.add([carried for _, carried in stretch])
        look([clip_id for clip_id, _ in stretch])
    invalid = survey.invalid()
    while some := list(islice(invalid, _INVALID_ROWS)):
        columns.add_known([row.values for row, _ in some])
        look([reported_id for _, reported_id in some])
    return columns


@contextmanager
def surveying(ledger: Ledger, production: Production, settings: Settings) -> Iterator[Survey]:
    """A production as it is now, for as long as it is looked at.

    Raises:
        StoreError: the output cannot be read.
    """
    admission = Admission(ledger, production, settings, load_catalogue(settings.catalogue))
    holds: dict[tuple[str, int, Size], Failure | None] = {}

    def hold_of(clip: Clip) -> Failure | None:
        kind = (clip.model, clip.duration, clip.size)
        if kind not in holds:
            hold = admission.of(clip)
            holds[kind] = None if hold is None else Failure(hold.kind, explained(hold.reason), retryable=True)
        return holds[kind]

    with ledger.surveys.at_one_moment(production.production_id) as moment:
        yield Survey(moment, production, newest_snapshot(production), hold_of, settings.max_attempts)
