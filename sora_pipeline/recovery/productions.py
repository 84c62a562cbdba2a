"""Decides which productions there were: their names, their manifests, and which output is whose."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sora_pipeline.production.naming import MAX_NAME_CHARS, name_of_file
from sora_pipeline.production.publishing import CSV
from sora_pipeline.recovery.evidence import ManifestReading
from sora_pipeline.recovery.output_evidence import OutputEvidence, Outputs, Row, clip_of_row


@dataclass(slots=True)
class ProductionHistory:
    """What was read for one production.

    Attributes:
        name: What it is called.
        output_uri: Where it goes from now on.
        readings: Of its own manifest, oldest first.
        amendments: Of files that mended rows of it, oldest first.
    """

    name: str
    output_uri: str
    readings: list[ManifestReading]
    amendments: list[ManifestReading] = field(default_factory=list)

    @property
    def newest(self) -> ManifestReading:
        """The reading that counts."""
        return self.readings[-1]

    @property
    def outputs(self) -> list[str]:
        """Every output that it ever went to, the newest first."""
        uris = [reading.output_uri.rstrip("/") for reading in reversed([*self.readings, *self.amendments])]
        return list(dict.fromkeys(uris))

    @property
    def had_no_name(self) -> bool:
        """Whether it was there before productions had names."""
        return any(reading.production_id is None for reading in (*self.readings, *self.amendments))

    def last_read(self, before: datetime) -> datetime | None:
        """When it was last read before a moment; None: never."""
        times = [reading.at for reading in (*self.readings, *self.amendments) if reading.at <= before]
        return max(times, default=None)


def production_histories(readings: Iterable[ManifestReading], outputs: Outputs) -> list[ProductionHistory]:
    """Every production that something was read for, in the order of their first readings."""
    return _Histories(sorted(readings, key=lambda reading: reading.at), outputs).histories()


class _Histories:
    """Readings on their way to productions."""

    def __init__(self, readings: Sequence[ManifestReading], outputs: Outputs) -> None:
        self._outputs = outputs
        self._named: dict[str, ProductionHistory] = {}
        self._with_names = [reading for reading in readings if reading.production_id is not None]
        self._nameless = [reading for reading in readings if reading.production_id is None]

    def histories(self) -> list[ProductionHistory]:
        """All of them."""
        campaigns: dict[tuple[str, str], list[ManifestReading]] = {}
        mended: list[ManifestReading] = []
        for reading in self._nameless:
            if self._mends_a_campaign(reading):
                mended.append(reading)
            else:
                campaigns.setdefault(_place(reading), []).append(reading)
        taken = {reading.production_id.lower() for reading in self._with_names if reading.production_id}
        for theirs in campaigns.values():
            name = self._name_given(theirs[-1]) or unique_name(theirs[-1], taken)
            taken.add(name.lower())
            self._add(name, theirs)
        for reading in self._with_names:
            self._add(reading.production_id or "", [reading])
        for history in self._named.values():
            _set_amendments_apart(history, self._outputs)
        for reading in mended:
            self._amended_by(reading).amendments.append(reading)
        _assign_outputs(list(self._named.values()), self._outputs)
        return list(self._named.values())

    def _add(self, name: str, readings: Sequence[ManifestReading]) -> None:
        history = self._named.setdefault(name, ProductionHistory(name, readings[-1].output_uri, []))
        history.readings = sorted([*history.readings, *readings], key=lambda reading: reading.at)

    def _mends_a_campaign(self, reading: ManifestReading) -> bool:
        return reading.mends and any(
            not other.mends and _same_output(other, reading) for other in (*self._nameless, *self._with_names)
        )

    def _amended_by(self, mending: ManifestReading) -> ProductionHistory:
        """The production whose rows a file mends: the one with its output that was read last before it."""
        here = [
            history
            for history in self._named.values()
            if any(_same_output(reading, mending) for reading in history.readings)
        ]
        return read_last_before(here, mending.at)

    def _name_given(self, reading: ManifestReading) -> str | None:
        """The name that was given later to what had none when this was read."""
        here = [other for other in self._with_names if _same_output(other, reading)]
        for other in here:
            if other.manifest_uri == reading.manifest_uri:
                return other.production_id
        ownership = self._outputs.at(reading.output_uri).ownership
        if ownership is not None and ownership.manifest == reading.manifest_uri:
            return ownership.production
        stem = name_of_file(reading.manifest_uri).lower()
        names = [other.production_id for other in here if (other.production_id or "").lower() == stem]
        return names[0] if names else None


def _place(reading: ManifestReading) -> tuple[str, str]:
    return reading.manifest_uri, reading.output_uri.rstrip("/")


def _same_output(reading: ManifestReading, other: ManifestReading) -> bool:
    return reading.output_uri.rstrip("/") == other.output_uri.rstrip("/")


def unique_name(reading: ManifestReading, taken: Iterable[str]) -> str:
    """A name for the production of a manifest: its file's stem, numbered where another has that (in lower case)."""
    base, taken = name_of_file(reading.manifest_uri, reading.pipeline), set(taken)
    name, number = base, 1
    while name.lower() in taken:
        number += 1
        ending = f"-{number}"
        name = base[: MAX_NAME_CHARS - len(ending)] + ending
    return name


def read_last_before(histories: Sequence[ProductionHistory], at: datetime) -> ProductionHistory:
    """The production that was read last before a moment, or else the first that was read after it."""
    before = [(last, history) for history in histories if (last := history.last_read(at)) is not None]
    if before:
        return max(before, key=lambda pair: pair[0])[1]
    return min(histories, key=lambda history: history.readings[0].at)


def _set_amendments_apart(history: ProductionHistory, outputs: Outputs) -> None:
    """Files that only mended rows are no manifests of the production: nobody keeps a snapshot of them."""
    kept = [not reading.mends for reading in history.readings]
    whole = [
        outputs.at(reading.output_uri).snapshot(reading.snapshot_sha256) is not None if own else False
        for reading, own in zip(history.readings, kept, strict=True)
    ]
    campaign: str | None = None
    for number, reading in enumerate(history.readings):
        if not kept[number]:
            continue
        if whole[number] or campaign is None:
            campaign = reading.manifest_uri
        elif reading.manifest_uri != campaign and any(whole):
            kept[number] = False
    if not any(kept):
        return
    history.amendments = [r for r, own in zip(history.readings, kept, strict=True) if not own]
    history.readings = [r for r, own in zip(history.readings, kept, strict=True) if own]


# ---- whose an output is


def _assign_outputs(histories: Sequence[ProductionHistory], outputs: Outputs) -> None:
    """An output belongs to one production; the others that went there once get a folder of their own below it."""
    by_output: dict[str, list[ProductionHistory]] = {}
    for history in histories:
        history.output_uri = history.newest.output_uri.rstrip("/")
        by_output.setdefault(history.output_uri, []).append(history)
    for output_uri, sharing in by_output.items():
        keeper = keeper_of(outputs.at(output_uri), sharing)
        for history in sharing:
            if history is not keeper:
                history.output_uri = f"{output_uri}/{history.name}"


def keeper_of(output: OutputEvidence, sharing: Sequence[ProductionHistory]) -> ProductionHistory:
    """Whose an output is: its owner's, else that of the production that was published into it last."""
    if len(sharing) == 1:
        return sharing[0]
    if output.ownership is not None:
        for history in sharing:
            if history.name == output.ownership.production:
                return history
    published = Counter(row["manifest_sha256"] for row in output.rows)
    return max(
        sharing,
        key=lambda history: (
            sum(published[sha256] for sha256 in {r.manifest_sha256 for r in _all(history)}),
            history.newest.at,
        ),
    )


def _all(history: ProductionHistory) -> list[ManifestReading]:
    return [*history.readings, *history.amendments]


def rows_by_production(
    histories: Sequence[ProductionHistory], outputs: Outputs
) -> dict[str, list[tuple[OutputEvidence, Row]]]:
    """The rows of all output manifests, with where they lie, by the production that they are about."""
    rows: dict[str, list[tuple[OutputEvidence, Row]]] = {history.name: [] for history in histories}
    for output_uri in dict.fromkeys(uri for history in histories for uri in history.outputs):
        output = outputs.at(output_uri)
        here = [history for history in histories if output_uri in history.outputs]
        whose = _whose_rows(output, here)
        for row in output.rows:
            rows[whose(row).name].append((output, row))
    return rows


def _whose_rows(
    output: OutputEvidence, here: Sequence[ProductionHistory]
) -> Callable[[Row], ProductionHistory]:
    keeper = keeper_of(output, here)
    by_name = {history.name: history for history in here}
    by_manifest = {reading.manifest_sha256: history for history in here for reading in _all(history)}

    def whose(row: Row) -> ProductionHistory:
        named = by_name.get(row.get("production") or "")
        return named or by_manifest.get(row["manifest_sha256"]) or keeper

    return whose


# ---- outputs that no event tells of


def readings_of_output(output_uri: str, outputs: Outputs, name: str | None = None) -> list[ManifestReading]:
    """What was read for an output, as far as the output itself tells; nothing where it holds no production.

    Args:
        output_uri: The output.
        outputs: Opens it.
        name: The one production that it is taken for; None: it says that, or there are as many as manifests.
    """
    output = outputs.at(output_uri)
    ownership = output.ownership
    name = name or (ownership.production if ownership else None) or _named_in_rows(output)
    common = ManifestReading(
        manifest_uri=(ownership.manifest if ownership else "") or f"{output_uri}/{CSV}",
        output_uri=output_uri,
        production_id=name,
        pipeline=ownership.pipeline if ownership else "",
    )
    fingerprints = {clip_of_row(row).fingerprint for row in output.rows}
    published = {row["manifest_sha256"] for row in output.rows}
    ranked: list[tuple[tuple[bool, bool, int, int], ManifestReading]] = []
    for snapshot in output.snapshots():
        reading = replace(
            common,
            manifest_uri=snapshot.manifest_uri,
            manifest_sha256=snapshot.manifest_sha256,
            snapshot_sha256=snapshot.snapshot_sha256,
        )
        own = ownership is not None and ownership.manifest == snapshot.manifest_uri
        shown = sum(clip.fingerprint in fingerprints for clip in snapshot.clips)
        rank = snapshot.manifest_sha256 in published, own, shown, len(snapshot.clips)
        ranked.append((rank, reading))
    readings = [reading for _, reading in sorted(ranked, key=lambda pair: pair[0])]
    if readings or not (output.rows or output.clips_with_sidecars()):
        return readings
    return [common]


def _named_in_rows(output: OutputEvidence) -> str | None:
    names = {row.get("production") for row in output.rows}
    return names.pop() if len(names) == 1 else None
