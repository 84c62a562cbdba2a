"""Rebuilds what a lost ledger held, or what another one holds of an output: from Dagster's events and from the outputs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from sora_pipeline.admission.costs import cost_usd
from sora_pipeline.admission.limits import account_of
from sora_pipeline.amounts import counted
from sora_pipeline.clip import Clip, Size, clip_key, split_clip_key
from sora_pipeline.errors import Reason, SoraPipelineError
from sora_pipeline.ledger import Account, Attempt, Ledger, Plan, Production
from sora_pipeline.ledger.restore import LedgerContents, RestoredClip
from sora_pipeline.ledger.types import MICROS
from sora_pipeline.production.intake import snapshot_path
from sora_pipeline.production.naming import default_output, name_of_file
from sora_pipeline.production.ownership import own
from sora_pipeline.production.publishing import CSV
from sora_pipeline.provider.catalogue import Catalogue, UnknownModelError
from sora_pipeline.recovery.assignment import by_clip_key
from sora_pipeline.recovery.attempts import Terms, reconstruct_attempts
from sora_pipeline.recovery.clips import MendedRows, ProductionClips, WantedClip
from sora_pipeline.recovery.evidence import LONG_AGO, Evidence, EvidenceKind, History, ManifestReading
from sora_pipeline.recovery.output_evidence import OutputEvidence, Outputs, Row
from sora_pipeline.recovery.productions import (
    ProductionHistory,
    production_histories,
    read_last_before,
    readings_of_output,
    rows_by_production,
)
from sora_pipeline.settings import Settings
from sora_pipeline.store import OutputStore
from sora_pipeline.uris import Uri

SHOWN_CLIPS = 5
FIRST_SEQ = 1_000_000_000
"""Sensors remember how far the lost ledger had counted; nothing that happens from now on may look older than that."""


class RebuildError(SoraPipelineError):
    """Raised where there is nothing to rebuild from; the text says where it was looked for."""


@dataclass(slots=True)
class Recovered:
    """What was found.

    Attributes:
        contents: What goes into the ledger.
        mended: Rows that people mended, by production: what its manifest says of them does not count.
        invalid: Rows of the productions' manifests that cannot be used: reported id and hash, by production.
        notes: What people should know about it.
    """

    contents: LedgerContents
    mended: dict[str, list[MendedRows]] = field(default_factory=dict)
    invalid: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: list[Reason] = field(default_factory=list)


def recover(
    history: History, outputs: Sequence[str], settings: Settings, catalogue: Catalogue, now: datetime
) -> Recovered:
    """Put everything together that there is of a lost ledger.

    Args:
        history: What Dagster remembers.
        outputs: Outputs to look into besides those that Dagster remembers.
        settings: The settings.
        catalogue: Prices, where no evidence names one.
        now: The present.

    Raises:
        RebuildError: there is nothing to rebuild from.
        StoreError: an output cannot be read, so nobody can say what was delivered.
        OutputOwnedError: an output's owner file is damaged, or was written by a newer version.
    """
    opened, outputs = Outputs(), [output.rstrip("/") for output in outputs]
    foreign = _foreign_outputs(history.readings, outputs, opened)
    readings = [reading for reading in history.readings if reading.output_uri.rstrip("/") not in foreign]
    gone = {reading.production_id for reading in history.readings if reading not in readings}
    evidence = [one for one in history.evidence if one.production_id is None or one.production_id not in gone]
    notes = list(foreign.values())
    for output in outputs:
        if all(reading.output_uri.rstrip("/") != output for reading in readings):
            readings += _readings_of_named_output(output, opened)
            notes.append(_unknown_to_dagster(output))
    if not readings:
        raise RebuildError(
            "Dagster remembers no manifest that was read, and no output is named: there is nothing to rebuild from",
            "nothing_remembered",
        )
    readings += _unread(evidence, readings, settings, notes)
    return _Recovery(readings, evidence, opened, settings, catalogue, now, notes).recovered()


def recover_output(
    output_uri: str, name: str | None, settings: Settings, catalogue: Catalogue, now: datetime
) -> Recovered:
    """Put everything together that an output tells of one production, whichever ledger made it.

    Args:
        output_uri: The output.
        name: What the production is to be called; None: as the output says, or else as its manifest is called.
        settings: The settings.
        catalogue: Prices, where no evidence names one.
        now: The present.

    Raises:
        RebuildError: it holds no production, or several and nobody said a name.
        StoreError: it cannot be read.
        OutputOwnedError: its owner file is damaged, or was written by a newer version.
    """
    opened, output_uri = Outputs(), output_uri.rstrip("/")
    readings = readings_of_output(output_uri, opened, name)
    if not readings:
        raise RebuildError(
            f"{output_uri} holds neither metadata.parquet nor .snapshots nor .sidecars: there is nothing to take over",
            "holds_nothing",
        )
    if readings[-1].production_id is None:
        own = _only_manifest(readings)
        readings = [replace(reading, production_id=name_of_file(own)) for reading in readings]
    note = Reason(
        f"{output_uri} tells only what was published or stored there: what was submitted after its metadata.parquet was "
        "written, and is not stored, cannot be known. Look at the provider's dashboard before you run its manifest again"
    )
    return _Recovery(readings, (), opened, settings, catalogue, now, [note]).recovered()


def restore(ledger: Ledger, recovered: Recovered) -> None:
    """Make the outputs this ledger's, and put everything into it.

    In this order: what dies in between is begun anew by the same command.

    Raises:
        StoreError: an output cannot be written; nothing is in the ledger.
        LedgerError: the ledger has one of the productions already; nothing is in the ledger.
    """
    for production in recovered.contents.productions:
        own(OutputStore(production.output_uri), ledger, production)
    ledger.restore.insert(recovered.contents)
    record_mended(ledger, recovered, recovered.contents.productions)


def record_mended(ledger: Ledger, recovered: Recovered, productions: Iterable[Production]) -> None:
    """Let rows that people mended stand in productions that were put into the ledger."""
    for production in productions:
        for rows in recovered.mended.get(production.production_id, ()):
            ledger.productions.record_amendments(
                Plan(
                    production_id=production.production_id,
                    pipeline=production.pipeline,
                    manifest_uri=production.manifest_uri,
                    output_uri=production.output_uri,
                    account=Account(production.account or "", "", production.simulated),
                ),
                rows.manifest_uri,
                rows.clips,
                invalid=recovered.invalid.get(production.production_id, {}),
                began_at=production.read_at or LONG_AGO,
            )


# ---- which readings there were


def _foreign_outputs(
    readings: Sequence[ManifestReading], outputs: Sequence[str], opened: Outputs
) -> dict[str, Reason]:
    """Outputs that another ledger has adopted since, but for those that somebody named; each with a note for people."""
    ours = {reading.ledger_id for reading in readings if reading.ledger_id}
    foreign: dict[str, Reason] = {}
    for output_uri in {reading.output_uri.rstrip("/") for reading in readings} if ours else ():
        ownership = opened.at(output_uri).ownership
        if output_uri not in outputs and ownership is not None and ownership.ledger_id not in ours:
            foreign[output_uri] = Reason(
                f"{output_uri} belongs to the production {ownership.production} of another ledger by now "
                f"({ownership.ledger or 'not named'}) and was left out",
                "left_out",
            )
    return foreign


def _readings_of_named_output(output: str, opened: Outputs) -> list[ManifestReading]:
    readings = readings_of_output(output, opened)
    if not readings:
        raise RebuildError(f"{output} holds neither metadata.parquet nor .snapshots", "holds_nothing")
    return readings


def _only_manifest(readings: Sequence[ManifestReading]) -> str:
    manifests = {reading.manifest_uri for reading in readings if not reading.mends}
    if len(manifests) > 1:
        raise RebuildError(
            f"{readings[0].output_uri} was filled from several manifests ({', '.join(sorted(manifests))}), and becomes one "
            "production",
            "unnamed",
        )
    return manifests.pop() if manifests else readings[-1].manifest_uri


def _unknown_to_dagster(output: str) -> Reason:
    return Reason(
        f"Dagster remembers nothing of {output}: what was submitted after its metadata.parquet was written, and is not "
        "stored, cannot be known. Look at the provider's dashboard before you run its manifest again"
    )


def _unread(
    evidence: Sequence[Evidence], readings: Sequence[ManifestReading], settings: Settings, notes: list[Reason]
) -> list[ManifestReading]:
    """Productions with attempts of which no reading is left: what was paid for them must be known all the same."""
    known = {reading.production_id for reading in readings}
    missing = sorted({one.production_id for one in evidence if one.production_id} - known)
    added = []
    for name in missing:
        stored = [
            one.video.output_uri for one in evidence if one.production_id == name and one.video is not None
        ]
        output = stored[-1] if stored else default_output(settings, name)
        added.append(ManifestReading(manifest_uri=f"{output}/{CSV}", output_uri=output, production_id=name))
        sentence = f"Dagster remembers clips of the production {name}, but no reading of its manifest"
        notes.append(Reason(sentence, "reading_lost", {"production": name}))
    return added


# ---- what they mean


class _Recovery:
    """One rebuilding on its way."""

    def __init__(
        self,
        readings: Sequence[ManifestReading],
        evidence: Sequence[Evidence],
        outputs: Outputs,
        settings: Settings,
        catalogue: Catalogue,
        now: datetime,
        notes: list[Reason],
    ) -> None:
        self._outputs = outputs
        self._settings = settings
        self._catalogue = catalogue
        self._now = now
        self._notes = notes
        self._histories = production_histories(readings, outputs)
        self._rows = rows_by_production(self._histories, outputs)
        self._clips = {
            history.name: ProductionClips(history, self._rows[history.name], outputs)
            for history in self._histories
        }
        self._evidence = by_clip_key(evidence, self._histories, self._clips)
        self._spent: dict[str, Decimal] = {}
        self._read_rows()
        self._of: dict[str, list[str]] = {}
        for key, evidence_of_clip in self._evidence.items():
            if evidence_of_clip:
                self._of.setdefault(split_clip_key(key)[0], []).append(key)

    def recovered(self) -> Recovered:
        """Everything, as it goes into a ledger."""
        productions: list[Production] = []
        clips: list[RestoredClip] = []
        attempts: list[Attempt] = []
        for history in self._histories:
            account = self._account(history)
            productions.append(self._production(history, account))
            outlined = []
            for clip_id in self._clip_ids(history):
                clip, made = self._clip(history, clip_id, account or account_of(self._settings))
                clips.append(clip)
                attempts += made
                if clip.clip.row_number == 0:
                    outlined.append(clip_id)
            self._note_outlined(history, outlined)
            self._note_lost_files(history)
        if self._outputs.unreadable:
            unreadable = _some(self._outputs.unreadable)
            self._notes.append(
                Reason(
                    f"sidecars and rows that cannot be read, and are left out; a clip of which nothing else tells is ambiguous: {unreadable}"
                )
            )
        mended = {name: clips_of.mended_rows for name, clips_of in self._clips.items()}
        invalid = {name: clips_of.invalid_rows for name, clips_of in self._clips.items()}
        contents = LedgerContents(productions, clips, self._billed_once(attempts))
        return Recovered(contents, mended, invalid, self._notes)

    # ---- productions

    def _production(self, history: ProductionHistory, account: Account | None) -> Production:
        newest = history.newest
        at_home = history.output_uri == newest.output_uri.rstrip("/")
        snapshot = self._clips[history.name].snapshot
        budget, given = self._budget(history)
        return Production(
            production_id=history.name,
            pipeline=newest.pipeline,
            manifest_uri=Uri(newest.manifest_uri),
            output_uri=history.output_uri,
            # What only an output tells of may lack the newest submits: nothing is submitted before somebody has it read again.
            account=account.name if account and newest.at > LONG_AGO else None,
            simulated=self._simulated(history),
            budget_micros=None if budget is None else int(budget * MICROS),
            budget_given=given,
            read_at=newest.at,
            snapshot_path=snapshot_path(newest.snapshot_sha256) if snapshot and at_home else None,
            manifest_sha256=newest.manifest_sha256 or None,
            snapshot_sha256=newest.snapshot_sha256 or None,
            change_seq=FIRST_SEQ,
            changed_at=self._now,
            published_seq=FIRST_SEQ - 1,
            notified_seq=FIRST_SEQ,
        )

    def _budget(self, history: ProductionHistory) -> tuple[Decimal | None, bool]:
        """What a production may cost; what somebody gave for it holds until somebody gives another."""
        given = [reading.budget_usd for reading in history.readings if reading.budget_given]
        if given:
            return given[-1], True
        budget = history.newest.budget_usd
        return (self._settings.budget_usd if budget is None else budget), False

    def _simulated(self, history: ProductionHistory) -> bool:
        makers = Counter(clip.simulated for clip in self._clips[history.name].wanted.values())
        return makers.most_common(1)[0][0] if makers else account_of(self._settings).simulated

    def _account(self, history: ProductionHistory) -> Account | None:
        """Who submits a production's clips: as it was read, else who had its last attempt, else the settings' account."""
        evidence = [one for keys in self._of.get(history.name, ()) for one in self._evidence[keys]]
        used = [one.account for one in sorted(evidence, key=lambda one: one.at) if one.account]
        known = [*reversed(used), account_of(self._settings)]
        name, simulated = history.newest.account, self._simulated(history)
        if name is None:
            return next((account for account in known if account.simulated == simulated), None)
        named = [account for account in known if account.name == name and account.simulated == simulated]
        return named[0] if named else Account(name, name, simulated)

    def _note_lost_files(self, history: ProductionHistory) -> None:
        clips, newest = self._clips[history.name], history.newest
        if clips.snapshot is None:
            gone = f"the snapshot of {newest.manifest_uri} is no longer in {newest.output_uri}"
            self._notes.append(Reason(gone, "snapshot_lost"))
        for reading in self._lost_amendments(history):
            gone = (
                f"what {reading.manifest_uri} mended in the production {history.name} is not known any more"
            )
            self._notes.append(Reason(gone, "amendment_lost"))

    def _lost_amendments(self, history: ProductionHistory) -> list[ManifestReading]:
        """Readings of mended rows that came to be known nowhere: neither kept nor published."""
        ownership = self._outputs.at(history.newest.output_uri).ownership
        published_at = ownership.published_at if ownership else None
        lost = self._clips[history.name].mended_in_vain
        return [reading for reading in lost if published_at is None or reading.at > published_at]

    # ---- clips

    def _clip_ids(self, history: ProductionHistory) -> list[str]:
        """Every clip that a production asks for, or that has an attempt in it."""
        clips = self._clips[history.name]
        ids = dict.fromkeys([*clips.wanted, *clips.mended])
        ids |= dict.fromkeys(split_clip_key(key)[1] for key in self._of.get(history.name, ()))
        if clips.snapshot is None or history.newest.at == LONG_AGO:  # Dagster knows all others
            for output_uri in history.outputs:
                here = self._outputs.at(output_uri).clips_with_sidecars()
                ids |= dict.fromkeys(clip_id for clip_id in here if self._is_whose(history, clip_id))
        return list(ids)

    def _is_whose(self, history: ProductionHistory, clip_id: str) -> bool:
        others = [other for other in self._histories if other is not history]
        return self._clips[history.name].names(clip_id) or not any(
            self._clips[other.name].names(clip_id) for other in others
        )

    def _clip(
        self, history: ProductionHistory, clip_id: str, account: Account
    ) -> tuple[RestoredClip, list[Attempt]]:
        clips = self._clips[history.name]
        evidence = self._evidence.get(clip_key(history.name, clip_id), [])
        default = Clip(
            clip_id, 0, "", None, None, self._settings.model, account.simulated, 4, Size(720, 1280)
        )
        wanted = clips.wanted_clip(clip_id, evidence, default)
        attempts = self._attempts(history, wanted, evidence, account)
        return self._clip_in_ledger(history, wanted, attempts), attempts

    def _clip_in_ledger(
        self, history: ProductionHistory, wanted: WantedClip, attempts: Sequence[Attempt]
    ) -> RestoredClip:
        last = attempts[-1] if attempts else None
        fingerprint = wanted.fingerprint
        if last is not None and self._follows_lost_amendment(history, wanted, last):
            fingerprint = last.fingerprint
        same = last is None or last.live or last.fingerprint == fingerprint
        return RestoredClip(
            clip=wanted.clip,
            production_id=wanted.production_id,
            active=wanted.active,
            position=wanted.position,
            round=1 if same else 2,  # a row that was changed began a new round
            fingerprint=fingerprint,
            cancelled=wanted.cancelled,
        )

    def _follows_lost_amendment(self, history: ProductionHistory, wanted: WantedClip, last: Attempt) -> bool:
        """Whether an attempt was for a mended row of which nothing else is known: its clip must not be made as before."""
        known = self._clips[history.name].present(wanted.clip.clip_id, last.fingerprint)
        begun = last.reserved_at
        return known is None and any(reading.at <= begun for reading in self._lost_amendments(history))

    def _note_outlined(self, history: ProductionHistory, clip_ids: Sequence[str]) -> None:
        """What a clip asked for, the next reading of its manifest says; what was paid for it must be known by then."""
        if clip_ids:
            sentence = (
                f"of {history.name}, {counted(len(clip_ids), 'clip has', 'clips have')} attempts and no snapshot that is left: "
                f"{_some(clip_ids)}. Reading the manifest again mends that"
            )
            self._notes.append(Reason(sentence))

    # ---- attempts

    def _read_rows(self) -> None:
        for name, rows in self._rows.items():
            for output, row in rows:
                self._read_row(name, output, row)

    def _read_row(self, name: str, output: OutputEvidence, row: Row) -> None:
        key = clip_key(name, row["clip_id"])
        evidence = self._evidence.setdefault(key, [])
        numbers = {one.prediction_id: one.number for one in evidence if one.prediction_id}
        if (proven := output.evidence_of_row(row, numbers)) is not None:
            evidence.append(proven)
        cost = Decimal(str(row["cost_usd"] or 0))
        self._spent[key] = max(cost, self._spent.get(key, cost))

    def _price(self, clip: Clip, spent: Decimal) -> Decimal:
        """What an attempt cost of which nobody says so."""
        try:
            return cost_usd(clip, self._catalogue)
        except (
            UnknownModelError,
            ValueError,
        ):  # of a catalogue that is not here, or with a size that it has no price for
            return spent

    def _attempts(
        self, history: ProductionHistory, wanted: WantedClip, evidence: Sequence[Evidence], account: Account
    ) -> list[Attempt]:
        known = [self._as_of_now(history, one) for one in evidence]
        if not any(
            one.kind is EvidenceKind.STORED and one.fingerprint in (None, wanted.fingerprint) for one in known
        ):
            known += self._beside_videos(history, wanted, known)
        if not known:
            known = self._doubts(history, wanted.clip.clip_id)
        spent = self._spent.get(clip_key(history.name, wanted.clip.clip_id), Decimal(0))
        terms = Terms(
            account=account,
            price=lambda: self._price(wanted.clip, spent),
            spent=spent,
            deadline_s=self._settings.generation_timeout_s,
            now=self._now,
        )
        return reconstruct_attempts(wanted, known, terms)

    def _beside_videos(
        self, history: ProductionHistory, wanted: WantedClip, known: Sequence[Evidence]
    ) -> list[Evidence]:
        """Evidence of the sidecars in a production's outputs: a run that stored a video may have died just then."""
        clip_id = wanted.clip.clip_id
        numbers = {one.number for one in known}
        beside: list[Evidence] = []
        for output_uri in history.outputs:
            output = self._outputs.at(output_uri)
            for sidecar in output.sidecars(clip_id):
                if self._is_sidecar_of(history, sidecar):
                    requested = self._clips[history.name].requested_clip(wanted, sidecar["fingerprint"])
                    one = output.evidence_of_sidecar(sidecar, requested)
                    # One that nothing else tells of is what became of the run that left no word.
                    dated = one if one.number in numbers else replace(one, at=self._now)
                    beside.append(self._as_of_now(history, dated))
        return beside

    def _doubts(self, history: ProductionHistory, clip_id: str) -> list[Evidence]:
        """Evidence that a clip may be paid for, where nothing says what was."""
        doubts = [self._outputs.at(output_uri).doubt(clip_id) for output_uri in history.outputs]
        return [doubt for doubt in doubts if doubt is not None] if self._is_whose(history, clip_id) else []

    def _is_sidecar_of(self, history: ProductionHistory, sidecar: Row) -> bool:
        """Whether a video was made for a production, or for none that is known better."""
        clip_id, fingerprint = sidecar["clip_id"], sidecar["fingerprint"]
        others = [other for other in self._histories if other is not history]
        if sidecar.get("production") and any(other.name == sidecar["production"] for other in others):
            return False
        if self._clips[history.name].present(clip_id, fingerprint) is not None:
            return True
        return all(self._clips[other.name].present(clip_id, fingerprint) is None for other in others)

    def _as_of_now(self, history: ProductionHistory, one: Evidence) -> Evidence:
        """Evidence with the fingerprint of this version; a stored video whose file is gone can be asked for once more."""
        present = self._clips[history.name].present(one.clip_id, one.fingerprint)
        one = replace(one, fingerprint=present or one.fingerprint)
        if one.kind is not EvidenceKind.STORED or one.video is None:
            return one
        if self._outputs.at(one.video.output_uri).holds(one.video):
            return one
        return replace(one, kind=EvidenceKind.ACCEPTED, video=None, completed_at=None, stored_at=None)

    def _billed_once(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """What several productions have of one prediction was billed to the one that was read last before it."""
        attempts = list(attempts)
        by_bill: dict[tuple[str, str], list[Attempt]] = {}
        for attempt in attempts:
            if attempt.submission.prediction_id:
                bill = attempt.account.provider, attempt.submission.prediction_id
                by_bill.setdefault(bill, []).append(attempt)
        free: set[tuple[str, int]] = set()
        histories = {history.name: history for history in self._histories}
        for sharing in by_bill.values():
            names = {attempt.production_id for attempt in sharing}
            if len(names) < 2:
                continue
            payer = read_last_before([histories[name] for name in sorted(names)], sharing[0].reserved_at).name
            free |= {(one.clip_key, one.number) for one in sharing if one.production_id != payer}
        return [
            replace(attempt, cost_micros=0) if (attempt.clip_key, attempt.number) in free else attempt
            for attempt in attempts
        ]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN_CLIPS]) + (", …" if len(names) > SHOWN_CLIPS else "")
