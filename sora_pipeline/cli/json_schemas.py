"""What ``--json`` prints, command by command: one type each, from which ``sora-pipeline schema`` makes a JSON Schema.

Fields are only ever added. Whatever ends without such an object ends with ``Failure``.
"""

from typing import Any, NotRequired

from typing_extensions import TypedDict


class Failure(TypedDict):
    """What a command says that could not do what it was asked for."""

    exit_code: int
    error: str


class ProductionFacts(TypedDict):
    """How far a production is. Counts are by status; ``at_work`` by what attempts are at."""

    production: str
    manifest: str
    output: str
    clips: int
    pipeline: str
    account: str | None
    simulated: bool
    counts: dict[str, int]
    at_work: dict[str, int]
    spent_usd: float


class ClipRow(TypedDict):
    """What became of a clip, or of a row that cannot be made (status ``invalid``).

    Such a row has ``row``, as a spreadsheet numbers it (the header is 1; ``place`` is the same in words), and ``row_number``, which
    counts from 1 below the header, as in ``metadata.parquet``. Its ``clip_id`` is null where it has none of its own.
    """

    clip_id: str | None
    status: str
    error_message: str | None
    production: NotRequired[str]
    row: NotRequired[int]
    row_number: NotRequired[int]
    place: NotRequired[str]
    video_path: NotRequired[str | None]
    cost_usd: NotRequired[float | None]
    attempts: NotRequired[int]
    error_kind: NotRequired[str | None]
    prediction_id: NotRequired[str | None]


class Money(TypedDict):
    """What a manifest costs, and what budgets leave for it; US dollars, null: no limit.

    Clips that failed, or were cancelled, are not to pay: no run makes them unless somebody asks with ``retry``. Where the file only
    mends rows, the other clips of its production that are pending are submitted as well: ``other_clips_to_pay``.
    """

    estimate_usd: float
    still_to_pay_usd: float
    clips_to_pay: int
    other_clips_to_pay: int
    other_clips_usd: float
    reserved_usd: float
    clips_failed: int
    failed_usd: float
    clips_cancelled: int
    cancelled_usd: float
    clips_within_budget: int
    budget_usd: float | None
    budget_daily_usd: float | None
    committed_usd: float
    committed_today_usd: float
    simulated: bool


class Problem(TypedDict):
    """What is wrong with a cell; ``row`` and ``row_number`` as in a row of ``run``."""

    row: int
    row_number: int
    place: str
    clip_id: str | None
    column: str
    value: str | None
    problem: str
    allowed: str
    suggestion: str | None
    passing: bool


class ImageNotRead(TypedDict):
    """An image that could not be read this time; what is known of it from before still holds."""

    row: int
    row_number: int
    place: str
    clip_id: str
    problem: str


class OtherProduction(TypedDict):
    """Pending clips of another production, which a run submits as well; ``unread``: its manifest was asked for, and is read first."""

    production: str
    clips: int
    usd: float
    unread: bool


class Check(Money):
    """``check``.

    ``amended_clips`` stand as they were mended in another file; ``leaving_clips`` are in the production and not in this manifest;
    ``cancelled_by_unusable_rows`` are keys of pending clips that a run of this file of mended rows cancels, since it cannot use theirs.
    """

    production: str
    manifest: str
    output: str
    amends: bool
    amended_clips: list[str]
    cancelled_by_unusable_rows: list[str]
    leaving_clips: int
    leaving_delivered: int
    other_productions: list[OtherProduction]
    ignored_columns: list[str]
    understood: list[str]
    clips: int
    invalid_rows: int
    problems: list[Problem]
    images_not_read: list[ImageNotRead]


class Run(TypedDict):
    """``run`` and ``demo``."""

    exit_code: int
    stopped: str | None
    production: str
    account: str | None
    simulated: bool
    manifest: str
    output: str
    metadata: str
    gallery: str
    counts: dict[str, int]
    spent_usd: float
    committed_usd: float
    budget_usd: float | None
    clips: list[ClipRow]


class ProductionStatus(ProductionFacts):
    """A production in ``status``.

    ``invalid_rows`` is null where the output cannot be read; ``failed_csv`` says what is wrong with them, once it is published.
    """

    invalid_rows: int | None
    failed_csv: str | None
    committed_usd: float
    still_to_pay_usd: float
    budget_usd: float | None
    published: bool
    paused: bool
    stopped: str | None
    error: str | None
    open_elsewhere: dict[str, int]


class Today(TypedDict):
    """The present day (UTC) at an account."""

    account: str
    spent_usd: float
    committed_usd: float
    budget_usd: float | None


class OpenBreaker(TypedDict):
    """Why submits to an account, or of one model there, are stopped; times are ISO 8601."""

    account: str
    model: str | None
    kind: str
    message: str
    opened_at: str
    probe_at: str


class Status(TypedDict):
    """``status``."""

    productions: list[ProductionStatus]
    today: Today
    breakers: list[OpenBreaker]
    paused_accounts: list[str]
    waits_for: str | None
    clips: list[ClipRow]


class Watch(ProductionFacts):
    """``watch``."""

    settled: bool
    waits_for: str | None


class Retry(TypedDict):
    """``retry``: keys are ``production:clip_id``; ``usd`` is what is submitted again costs; ``error``: why names are ``unknown``."""

    exit_code: int
    error: str | None
    dry_run: bool
    made_anew: list[str]
    made_anew_usd: float
    submitted_again: list[str]
    usd: float
    fetched_again: list[str]
    still_rendering: list[str]
    given_up: dict[str, float]
    held: list[str]
    held_elsewhere: dict[str, str]
    cancelled: list[str]
    need_nothing: list[str]
    changed: list[str]
    uncancelled: list[str]
    unknown: list[str]
    simulated: bool


class CancelledProduction(TypedDict):
    """What became of a production's clips that were cancelled; ``failed``: those named that had failed already."""

    stopped: int
    failed: int
    under_way: int
    under_way_usd: float


class Cancel(TypedDict):
    """``cancel``, by production; ``error``: why names are ``unknown``."""

    exit_code: int
    error: str | None
    cancelled: dict[str, CancelledProduction]
    unknown: list[str]


class Names(TypedDict):
    """Productions and accounts."""

    productions: list[str]
    accounts: list[str]


class Pause(TypedDict):
    """``pause``."""

    paused: Names


class Resume(TypedDict):
    """``resume``: what goes on that did not before; nothing, where submits were not stopped."""

    submits_were_stopped: bool
    resumed: Names


class Budget(TypedDict):
    """``budget``."""

    production: str
    budget_usd: float | None
    committed_usd: float
    simulated: bool


class Costs(TypedDict):
    """``costs``: a line for each value of what it is ``by``, with clips, attempts, delivered and spent_usd."""

    by: list[str]
    lines: list[dict[str, Any]]
    spent_usd: float
    simulated_lines: list[dict[str, Any]]
    simulated_usd: float


class Provider(TypedDict):
    """An installed provider, and why it cannot be used."""

    name: str
    problem: str | None


class Model(TypedDict):
    """A model of the catalogue; prices are by size."""

    name: str
    vendor: str
    formats: list[str]
    durations: list[int]
    usd_per_second: dict[str, float]
    max_prompt_chars: int | None
    expected_render_s: float


class Models(TypedDict):
    """``models``."""

    providers: list[Provider]
    models: list[Model]


class Finding(TypedDict):
    """One thing that was looked at; ``healthy`` is null where it is only worth knowing."""

    subject: str
    healthy: bool | None
    sentence: str


class Doctor(TypedDict):
    """``doctor``."""

    findings: list[Finding]


class Recovered(TypedDict):
    """``adopt`` and ``ledger rebuild``."""

    productions: list[ProductionFacts]
    attempts: int
    spent_usd: float
    notes: list[str]


class Backup(TypedDict):
    """``ledger backup``."""

    file: str
    bytes: int


class Restored(TypedDict):
    """``ledger restored``; ``since`` is the last moment of which the ledger that was put back told."""

    since: str | None
    attempts: int
    paused: list[str]
    notes: list[str]


class Gallery(TypedDict):
    """``gallery``."""

    production: str
    gallery: str


class ExportedProduction(TypedDict):
    """What was exported of a production; ``in_the_way`` are names under which something else is."""

    copied: int
    present: int
    in_the_way: list[str]
    table: str


class Export(TypedDict):
    """``export``."""

    target: str
    productions: dict[str, ExportedProduction]


class Init(TypedDict):
    """``init``."""

    folder: str
    written: list[str]
    left_out: dict[str, str]


SCHEMAS: dict[str, Any] = {
    "adopt": Recovered,
    "budget": Budget,
    "cancel": Cancel,
    "check": Check,
    "costs": Costs,
    "demo": Run,
    "doctor": Doctor,
    "export": Export,
    "gallery": Gallery,
    "init": Init,
    "ledger backup": Backup,
    "ledger rebuild": Recovered,
    "ledger restored": Restored,
    "models": Models,
    "pause": Pause,
    "resume": Resume,
    "retry": Retry,
    "run": Run,
    "status": Status,
    "watch": Watch,
}
"""What each command prints with ``--json``."""


def json_schema(command: str) -> dict[str, Any]:
    """The JSON Schema of what a command prints, whatever comes of it."""
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Any] = TypeAdapter(SCHEMAS[command] | Failure)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **adapter.json_schema()}
