"""Tells a ledger that was put back from a backup what was paid for since, as outputs and Dagster know it. Submits nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sora_pipeline.errors import Reason
from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.restore import LedgerContents
from sora_pipeline.production.ownership import own
from sora_pipeline.provider.catalogue import Catalogue
from sora_pipeline.recovery.evidence import History
from sora_pipeline.recovery.output_evidence import Outputs
from sora_pipeline.recovery.productions import readings_of_output
from sora_pipeline.recovery.rebuild import Recovered, record_mended, recover
from sora_pipeline.settings import Settings
from sora_pipeline.store import OutputStore


@dataclass(slots=True)
class Learned:
    """What a restored ledger has learned.

    Attributes:
        attempts: How many attempts it did not know.
        notes: What people should know about it.
    """

    attempts: int
    notes: list[Reason]


@dataclass(slots=True)
class _Witnesses:
    """Outputs that can tell of the time since the backup."""

    outputs: list[str] = field(default_factory=list)
    published: dict[str, int] = field(default_factory=dict)
    notes: list[Reason] = field(default_factory=list)


def learn_since_backup(
    ledger: Ledger, history: History, outputs: Sequence[str], settings: Settings, catalogue: Catalogue
) -> Learned:
    """Pause every production of a restored ledger, and take in what was paid for since the backup.

    Args:
        ledger: The ledger, as it was put back.
        history: What Dagster remembers.
        outputs: Outputs of productions that began since, where Dagster remembers nothing of them.
        settings: The settings.
        catalogue: Prices, where no evidence names one.

    Raises:
        RebuildError: one of those outputs holds no production.
        StoreError: an output cannot be read, so nobody can say what was delivered.
        OutputOwnedError: an output's owner file is damaged, or was written by a newer version.
    """
    witnesses = _witnesses(ledger, history)
    told = [*witnesses.outputs, *(output.rstrip("/") for output in outputs)]
    recovered = Recovered(LedgerContents((), (), ()))
    if history.readings or told:
        recovered = recover(history, told, settings, catalogue, ledger.now())
    known = {production.production_id for production in ledger.productions.all()}
    new = [each for each in recovered.contents.productions if each.production_id not in known]
    for production in new:
        own(OutputStore(production.output_uri), ledger, production)
    attempts = ledger.older.learn(recovered.contents, witnesses.published)
    record_mended(ledger, recovered, new)
    return Learned(attempts, [*witnesses.notes, *recovered.notes])


def _witnesses(ledger: Ledger, history: History) -> _Witnesses:
    witnesses, opened = _Witnesses(), Outputs()
    remembered = {reading.output_uri.rstrip("/") for reading in history.readings}
    for production in ledger.productions.all():
        output_uri = production.output_uri.rstrip("/")
        ownership = opened.at(output_uri).ownership
        if ownership is not None and ownership.ledger_id != ledger.ledger_id:
            if output_uri not in remembered:
                witnesses.notes.append(
                    Reason(
                        f"{output_uri} belongs to another ledger by now ({ownership.ledger or 'not named'}) and was left out",
                        "left_out",
                    )
                )
            continue
        if ownership is not None:
            witnesses.published[ownership.production] = ownership.published_seq
        if readings_of_output(output_uri, opened):
            witnesses.outputs.append(output_uri)
    return witnesses
