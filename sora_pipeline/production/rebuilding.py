"""Rebuilds what a lost ledger held: from what Dagster remembers and from what lies in the outputs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sora_pipeline.clip import Clip, Size
from sora_pipeline.ledger import Attempt, Production
from sora_pipeline.ledger.productions import production_id
from sora_pipeline.ledger.rebuilding import Found, FoundClip
from sora_pipeline.ledger.types import MICROS
from sora_pipeline.production.concluding import Wanted, conclude
from sora_pipeline.production.costs import cost_usd
from sora_pipeline.production.publishing import CSV
from sora_pipeline.production.reading import snapshot_path
from sora_pipeline.production.remains import Remains, clip_of_row
from sora_pipeline.production.traces import LONG_AGO, History, Reading, Trace, TraceKind
from sora_pipeline.provider.catalogue import Catalogue
from sora_pipeline.settings import Settings

SHOWN_CLIPS = 5
FIRST_SEQ = 1_000_000_000
"""Sensors remember how far the lost ledger had counted; nothing that happens from now on may look older than that."""


class RebuildProblem(Exception):
    """Raised where there is nothing to rebuild from; the text says where it was looked for and what to do."""


@dataclass(slots=True)
class Recovered:
    """What was found.

    Attributes:
        found: What goes into the ledger.
        notes: What people should know about it, a sentence each.
    """

    found: Found
    notes: list[str] = field(default_factory=list)


def recover(
    history: History, outputs: Sequence[str], settings: Settings, catalogue: Catalogue, now: datetime
) -> Recovered:
    """Put everything together.

    Args:
        history: What Dagster remembers.
        outputs: Outputs to look into besides those that Dagster remembers.
        settings: The settings.
        catalogue: Prices, where a trace names none.
        now: The present.

    Raises:
        RebuildProblem: there is nothing to rebuild from.
        StoreProblem: an output cannot be read, so nobody can say what was delivered.
    """
    return _Recovery(history, settings, catalogue, now).recover(outputs)


class _Recovery:
    """One rebuilding on its way."""

    def __init__(self, history: History, settings: Settings, catalogue: Catalogue, now: datetime) -> None:
        self._history = history
        self._settings = settings
        self._catalogue = catalogue
        self._now = now
        self._remains: dict[str, Remains] = {}
        self._wanted: dict[str, Wanted] = {}
        self._traces: dict[str, list[Trace]] = {}
        self._spent: dict[str, Decimal] = {}
        self._notes: list[str] = []

    def recover(self, outputs: Sequence[str]) -> Recovered:
        """Traces first, then what is wanted, then what the ones mean for the others."""
        readings = [*self._history.readings]
        for output in outputs:
            if all(reading.output_uri != output for reading in readings):
                readings += self._read_output(output)
        if not readings:
            raise RebuildProblem(
                "Dagster remembers no manifest that was read, and no --output is named: there is nothing to rebuild from. "
                "Look at DAGSTER_HOME, or name the folder of the videos with --output"
            )
        for trace in self._history.traces:
            self._traces.setdefault(trace.clip_id, []).append(trace)
        for output in dict.fromkeys(reading.output_uri for reading in readings):
            self._read_rows(self._at(output))
        by_production: dict[str, list[Reading]] = {}
        for reading in sorted(readings, key=lambda each: each.at):
            identity = production_id(reading.manifest_uri, reading.output_uri)
            by_production.setdefault(identity, []).append(reading)
        # A clip that several manifests name belongs to the one that was read last.
        in_turn = sorted(by_production.items(), key=lambda item: item[1][-1].at)
        productions = [self._production(identity, theirs) for identity, theirs in in_turn]
        self._find_dropped(by_production)
        clips: list[FoundClip] = []
        attempts: list[Attempt] = []
        for wanted in self._wanted.values():
            mine = self._attempts(wanted)
            attempts += mine
            clips.append(_found(wanted, mine))
        return Recovered(Found(productions, clips, attempts), self._notes)

    def _at(self, output: str) -> Remains:
        if output not in self._remains:
            self._remains[output] = Remains(output)
        return self._remains[output]

    # ---- productions

    def _read_output(self, output: str) -> list[Reading]:
        """An output that Dagster knows nothing of: its snapshots say which manifests filled it."""
        remains = self._at(output)
        published = {row["manifest_sha256"] for row in remains.rows}
        best: dict[str, tuple[tuple[bool, int], Reading]] = {}
        for each in remains.snapshots():
            rank = each.manifest_sha256 in published, len(each.clips)
            if each.manifest_uri not in best or rank > best[each.manifest_uri][0]:
                reading = Reading(
                    each.manifest_uri, output, each.manifest_sha256, each.snapshot_sha256, LONG_AGO
                )
                best[each.manifest_uri] = rank, reading
        if not best and not remains.rows:
            raise RebuildProblem(
                f"--output {output} holds neither metadata.parquet nor .snapshots; name the folder that SORA_OUTPUT named "
                "when the videos were made"
            )
        self._notes.append(
            f"Dagster remembers nothing of {output}: what was submitted after its metadata.parquet was written, and is not "
            "stored, cannot be known. Look at the provider's dashboard before you run its manifest again"
        )
        if best:
            return [reading for _, reading in best.values()]
        return [Reading(f"{output}/{CSV}", output, "", "", LONG_AGO)]

    def _production(self, identity: str, readings: Sequence[Reading]) -> Production:
        newest = readings[-1]
        snapshot = self._at(newest.output_uri).snapshot(newest.snapshot_sha256)
        clips = snapshot.clips if snapshot else self._clips_of_rows(newest)
        for position, clip in enumerate(clips):
            self._wanted[clip.clip_id] = Wanted(
                clip, clip.fingerprint, identity, newest.output_uri, True, position
            )
        if snapshot is None:
            self._notes.append(
                f"the snapshot of {newest.manifest_uri} is no longer in {newest.output_uri}; `sora-pipeline run` of that "
                "manifest writes it again"
            )
        budget = newest.budget_usd if newest.budget_usd is not None else self._settings.budget_usd
        return Production(
            production_id=identity,
            manifest_uri=newest.manifest_uri,
            output_uri=newest.output_uri,
            budget_micros=None if budget is None else int(budget * MICROS),
            requested_at=None,
            read_at=newest.at,
            snapshot_path=snapshot_path(newest.snapshot_sha256) if snapshot else None,
            manifest_sha256=newest.manifest_sha256 or None,
            snapshot_sha256=newest.snapshot_sha256 or None,
            sequence=len(readings),
            change_seq=FIRST_SEQ,
            changed_at=self._now,
            published_seq=FIRST_SEQ - 1,
            published_at=None,
            publisher=None,
            publisher_until=None,
            error=None,
            told_seq=FIRST_SEQ,
            told_state=None,
        )

    # ---- clips

    def _clips_of_rows(self, reading: Reading) -> list[Clip]:
        """Without its snapshot, the output manifest says what a manifest asked for."""
        rows = self._at(reading.output_uri).rows
        mine = [row for row in rows if row["manifest_sha256"] == reading.manifest_sha256] or rows
        return [clip_of_row(row) for row in sorted(mine, key=lambda row: (row["row_number"], row["take"]))]

    def _find_dropped(self, by_production: Mapping[str, Sequence[Reading]]) -> None:
        """Clips with attempts that no manifest names any more: older snapshots, and output manifests, know them."""
        for identity, readings in by_production.items():
            seen = {readings[-1].snapshot_sha256}
            for reading in reversed(readings):
                if not self._nameless:
                    return
                if reading.snapshot_sha256 not in seen:
                    seen.add(reading.snapshot_sha256)
                    snapshot = self._at(reading.output_uri).snapshot(reading.snapshot_sha256)
                    self._drop(identity, reading, snapshot.clips if snapshot else ())
        for identity, readings in by_production.items():
            newest = readings[-1]
            self._drop(identity, newest, map(clip_of_row, self._at(newest.output_uri).rows))
        identity, readings = next(iter(by_production.items()))
        self._stand_in(identity, readings[-1])

    @property
    def _nameless(self) -> set[str]:
        """Clips that left traces, and of which it is not known what they asked for."""
        return {clip_id for clip_id, found in self._traces.items() if found} - self._wanted.keys()

    def _drop(self, identity: str, reading: Reading, clips: Iterable[Clip]) -> None:
        nameless = self._nameless
        for clip in clips:
            if clip.clip_id in nameless:
                self._wanted[clip.clip_id] = Wanted(
                    clip, clip.fingerprint, identity, reading.output_uri, False, 0
                )

    def _stand_in(self, identity: str, reading: Reading) -> None:
        """What a clip asked for, the next reading of its manifest says; what was paid for it must be known by then."""
        nameless = sorted(self._nameless)
        for clip_id in nameless:
            clip, fingerprint = _outline(clip_id, self._traces[clip_id], self._settings)
            self._wanted[clip_id] = Wanted(clip, fingerprint, identity, reading.output_uri, False, 0)
        if nameless:
            shown = ", ".join(nameless[:SHOWN_CLIPS]) + (", …" if len(nameless) > SHOWN_CLIPS else "")
            self._notes.append(
                f"{len(nameless)} clips have attempts and are in no snapshot that is left: {shown}. Reading their manifest "
                "again makes them whole"
            )

    # ---- attempts

    def _read_rows(self, remains: Remains) -> None:
        for row in remains.rows:
            clip_id = row["clip_id"]
            known = self._traces.setdefault(clip_id, [])
            numbers = {trace.prediction_id: trace.number for trace in known if trace.prediction_id}
            if (trace := remains.row_trace(row, numbers)) is not None:
                known.append(trace)
            cost = Decimal(str(row["cost_usd"] or 0))
            self._spent[clip_id] = max(cost, self._spent.get(clip_id, cost))

    def _attempts(self, wanted: Wanted) -> list[Attempt]:
        traces = [self._with_its_file(each) for each in self._traces.get(wanted.clip.clip_id, [])]
        if not any(
            each.kind is TraceKind.STORED and each.fingerprint in (None, wanted.fingerprint)
            for each in traces
        ):
            numbers = {each.number for each in traces}
            for found in self._at(wanted.output_uri).sidecar_traces(wanted.clip, wanted.fingerprint):
                # One that nothing else tells of is what became of the run that left no word.
                news = found if found.number in numbers else replace(found, at=self._now)
                traces.append(self._with_its_file(news))
        return conclude(
            wanted,
            traces,
            price=lambda: cost_usd(wanted.clip, self._catalogue),
            spent=self._spent.get(wanted.clip.clip_id, Decimal(0)),
            deadline_s=self._settings.generation_timeout_s,
            now=self._now,
        )

    def _with_its_file(self, trace: Trace) -> Trace:
        """A stored video whose file is gone is a prediction that can be asked for it once more."""
        if trace.kind is not TraceKind.STORED or trace.video is None:
            return trace
        if self._at(trace.video.output_uri).holds(trace.video):
            return trace
        return replace(trace, kind=TraceKind.ACCEPTED, video=None, completed_at=None, stored_at=None)


def _found(wanted: Wanted, made: Sequence[Attempt]) -> FoundClip:
    last = made[-1] if made else None
    same = last is None or last.live or last.fingerprint == wanted.fingerprint
    return FoundClip(
        clip=wanted.clip,
        production_id=wanted.production_id,
        active=wanted.active,
        position=wanted.position,
        round=1 if same else 2,  # a row that was changed began a new round
        fingerprint=wanted.fingerprint,
    )


def _outline(clip_id: str, traces: Sequence[Trace], settings: Settings) -> tuple[Clip, str]:
    """As much of a clip as its attempts tell, and its fingerprint."""
    request: Mapping[str, Any] = next((each.request for each in reversed(traces) if each.request), {})
    models = [each.model for each in traces if each.model]
    providers = [each.provider for each in traces if each.provider]
    clip = Clip(
        clip_id=clip_id,
        row_number=0,
        prompt="",
        image=None,
        image_sha256=None,
        model=models[-1] if models else settings.model,
        provider=providers[-1] if providers else settings.provider,
        duration=int(request.get("duration", 4)),
        size=Size.parse(str(request.get("size", "720x1280"))),
    )
    fingerprints = [each.fingerprint for each in traces if each.fingerprint]
    return clip, fingerprints[-1] if fingerprints else clip.fingerprint
