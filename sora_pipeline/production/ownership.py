"""Whose an output is: a small file in it names the production and the ledger; nobody else writes there.

Two productions in one folder would replace each other's manifests without a word, and a ledger that knows nothing of what
lies there would pay for it again.
"""

import hashlib
import itertools
import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.ledger import Ledger, Plan, Production
from sora_pipeline.production.naming import is_name
from sora_pipeline.store import OutputStore, StoreError
from sora_pipeline.uris import same_place, shown_uri

OWNER = ".sora-pipeline.json"
MAX_BYTES = 2**20
FORMAT_VERSION = 1
_TRACES = ("metadata.parquet", ".snapshots")
_FOLDERS = (
    "videos",
    ".snapshots",
    ".amendments",
    ".staging",
    ".sidecars",
    ".posters",
    ".images",
    "gallery",
    "delta",
)
"""Folders of an output that hold files of its own production only; beside them another output may lie."""


class OutputOwnedError(SoraPipelineError):
    """Raised where an output belongs to another production, or to another ledger."""


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError("is no name of a production")
    return text


class _Versioned(BaseModel):
    """All that the file of any version holds."""

    model_config = ConfigDict(extra="ignore")

    format: int


class _OwnerFile(_Versioned):
    """The file as it is written."""

    production: Annotated[str, AfterValidator(_name)]
    pipeline: str = ""
    ledger_id: str
    ledger: str = ""
    manifest: str = ""
    published_at: AwareDatetime | None = None
    published_seq: Annotated[int, Field(ge=0)] = 0
    written: dict[str, list[str]] = {}


@dataclass(frozen=True, slots=True)
class Ownership:
    """What an output says of itself.

    Attributes:
        production: The production that owns it.
        pipeline: The pipeline that serves that.
        ledger_id: The ledger that knows it.
        ledger: Where that was, without passwords.
        manifest: The production's manifest, without what may be a secret in its address.
        published_at: When its manifest was last written.
        published_seq: How far the ledger had counted the production's changes then.
        written: Files that people may edit, with the hashes of what was written there last, or was about to be.
    """

    production: str
    pipeline: str
    ledger_id: str
    ledger: str
    manifest: str
    published_at: datetime | None = None
    published_seq: int = 0
    written: dict[str, list[str]] = field(default_factory=dict)

    def name_for(self, store: OutputStore, name: str) -> str:
        """A name under which a file can be written without losing what a person has edited."""
        path = PurePosixPath(name)
        for number in itertools.count(1):
            tried = name if number == 1 else f"{path.stem}-{number}{path.suffix}"
            try:
                sha256 = store.sha256(tried)
            except FileNotFoundError:
                return tried
            if sha256 in self.written.get(tried, ()):
                return tried
        raise AssertionError("there is always a further number")


def read_ownership(store: OutputStore) -> Ownership | None:
    """What an output says of itself; None: nothing.

    Raises:
        StoreError: it cannot be read.
        OutputOwnedError: it was written by a newer version, or is damaged.
    """
    try:
        content = store.read_bytes(OWNER, MAX_BYTES)
    except FileNotFoundError:
        return None
    try:
        _refuse_newer(store, _Versioned.model_validate_json(content))
        owner_file = _OwnerFile.model_validate_json(content)
    except ValidationError:
        raise OutputOwnedError(
            f"{store.uri_of(OWNER)} is damaged, so nobody can say whose output that is. Use another output, or, if no other "
            "production goes there, remove that file"
        ) from None
    known = owner_file.model_dump(exclude={"format"})
    # Earlier versions wrote a manifest's address with its secrets.
    return Ownership(**{**known, "manifest": shown_uri(known["manifest"])})


def _refuse_newer(store: OutputStore, file: _Versioned) -> None:
    if file.format > FORMAT_VERSION:
        raise OutputOwnedError(
            f"{store.uri} was written by a newer version of sora-pipeline (output format {file.format}, known here: "
            f"{FORMAT_VERSION}). Install that version; nothing was changed"
        )


def require_free(output_uri: str, ledger: Ledger, production_id: str) -> None:
    """Refuse an output that is not this production's, before anything is read for it or paid.

    Raises:
        OutputOwnedError: it is another production's, another ledger's or a newer state of this one's, or holds what no
            ledger here knows.
        StoreError: it cannot be read.
    """
    store = OutputStore(output_uri)
    owner = read_ownership(store)
    place = same_place(output_uri)
    for other in ledger.productions.all():
        others = same_place(other.output_uri)
        if _is_inside(place, others) or (owner is None and _is_inside(others, place)):
            raise _taken(OutputStore(other.output_uri), other.production_id, production_id)
        if owner is None and place == others and other.production_id != production_id:
            raise _taken(store, other.production_id, production_id)
    if owner is None:
        own = ledger.productions.find(production_id)
        if (own is None or own.output_uri != output_uri) and _holds_a_production(store):
            raise OutputOwnedError(
                f"{store.uri} holds videos of a production that this ledger ({ledger.database.shown_url}) does not know: they "
                "would be paid for again",
                "output_unknown",
                output=store.uri,
            )
        return
    if owner.ledger_id != ledger.ledger_id:
        raise _another_ledgers(store, owner, ledger)
    if owner.production != production_id:
        raise _taken(store, owner.production, production_id)
    known = ledger.productions.find(production_id)
    if owner.published_seq > (0 if known is None else known.change_seq):
        raise OutputOwnedError(
            f"the ledger at {ledger.database.shown_url} is older than what it has published in {store.uri}: it was put back "
            "from a copy, and would pay again for what it has paid for since",
            "ledger_older",
            output=store.uri,
        )


def _is_inside(place: str, output: str) -> bool:
    """Whether a place is where an output keeps its own files."""
    return place.startswith(f"{output}/") and place.removeprefix(f"{output}/").split("/")[0] in _FOLDERS


def _another_ledgers(store: OutputStore, owner: Ownership, ledger: Ledger) -> OutputOwnedError:
    here = ledger.database.shown_url
    if owner.ledger == here:
        return OutputOwnedError(
            f"{store.uri} belongs to the production {owner.production} of another ledger of the same address ({here}), that of "
            "another machine or one that was there before; this one would pay for its clips again",
            "ledger_replaced",
            output=store.uri,
        )
    return OutputOwnedError(
        f"{store.uri} belongs to the production {owner.production} of another ledger ({owner.ledger or 'not named'}); this "
        f"one is {here}, and would pay for its clips again",
        "output_of_another_ledger",
        output=store.uri,
    )


def claim(store: OutputStore, ledger: Ledger, production: Plan | Production) -> Ownership:
    """Make an output this production's, or find that it is; of several that do so at the same moment one succeeds.

    Raises:
        OutputOwnedError: it is not.
        StoreError: it cannot be written.
    """
    require_free(production.output_uri, ledger, production.production_id)
    if read_ownership(store) is None:
        first = _ownership(ledger, production, None)
        try:
            store.create_bytes(OWNER, _content(first))
        except FileExistsError:
            require_free(production.output_uri, ledger, production.production_id)
        else:
            return first
    return own(store, ledger, production)


def own(store: OutputStore, ledger: Ledger, production: Plan | Production) -> Ownership:
    """Write into an output that it is this production's, whoever's it was.

    Raises:
        StoreError: it cannot be written.
    """
    previous = read_ownership(store)
    wanted = _ownership(ledger, production, previous)
    if wanted != previous:
        write_ownership(store, wanted)
    return wanted


def _ownership(ledger: Ledger, production: Plan | Production, previous: Ownership | None) -> Ownership:
    same_ledger = previous is not None and previous.ledger_id == ledger.ledger_id
    return Ownership(
        production=production.production_id,
        pipeline=production.pipeline,
        ledger_id=ledger.ledger_id,
        ledger=ledger.database.shown_url,
        manifest=shown_uri(production.manifest_uri),
        published_at=previous.published_at if previous else None,
        published_seq=previous.published_seq if previous and same_ledger else 0,
        written=previous.written if previous else {},
    )


def note_written(store: OutputStore, ownership: Ownership, name: str, content: Path) -> Ownership:
    """Remember what is about to be written under a name that people edit, and what is still there until then.

    Raises:
        OSError: the file of what is to be written cannot be read.
        StoreError: the output cannot be read or written.
    """
    with content.open("rb") as file:
        known = [hashlib.file_digest(file, "sha256").hexdigest()]
    if store.exists(name) and (present := store.sha256(name)) != known[0]:
        known.insert(0, present)
    noted = replace(ownership, written={**ownership.written, name: known})
    if noted != ownership:
        write_ownership(store, noted)
    return noted


def note_published(store: OutputStore, ownership: Ownership, now: datetime, change_seq: int) -> None:
    """Remember when the output manifest was written, and of which state."""
    write_ownership(store, replace(ownership, published_at=now, published_seq=change_seq))


def write_ownership(store: OutputStore, ownership: Ownership) -> None:
    """Write the file.

    Raises:
        StoreError: it cannot be written.
    """
    store.replace_bytes(OWNER, _content(ownership))


def _content(ownership: Ownership) -> bytes:
    owner_file = _OwnerFile(
        format=FORMAT_VERSION,
        production=ownership.production,
        pipeline=ownership.pipeline,
        ledger_id=ownership.ledger_id,
        ledger=ownership.ledger,
        manifest=ownership.manifest,
        published_at=ownership.published_at,
        published_seq=ownership.published_seq,
        written=ownership.written,
    )
    return (json.dumps(owner_file.model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n").encode()


def _holds_a_production(store: OutputStore) -> bool:
    try:
        return store.exists(_TRACES[0]) or bool(store.names(_TRACES[1]))
    except StoreError:
        return False  # a place that is not there yet


def _taken(store: OutputStore, owner: str, production_id: str) -> OutputOwnedError:
    return OutputOwnedError(
        f"{store.uri} is the output of the production {owner}, and {production_id} would replace its manifest",
        "output_taken",
        owner=owner,
    )
