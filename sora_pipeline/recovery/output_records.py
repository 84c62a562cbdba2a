"""Rows of an output manifest and sidecars, as they must be to be believed: files in an output may be anybody's."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from sora_pipeline.clip import Size
from sora_pipeline.foreign_json import read_json
from sora_pipeline.manifest.ids import is_safe_id
from sora_pipeline.production.naming import is_name
from sora_pipeline.status import ClipStatus
from sora_pipeline.store import is_relative
from sora_pipeline.video import VideoFacts

MOST_USD = 100_000.0
"""No clip costs so much; a file that says so is wrong."""
MOST_ATTEMPTS = 100_000
MOST_SIZE_CHARS = 20


def _safe_id(text: str) -> str:
    if not is_safe_id(text):
        raise ValueError("is no clip id")
    return text


def _inside(text: str) -> str:
    if not is_relative(text):
        raise ValueError("is no path inside the output")
    return text


def _size(text: str) -> str:
    if len(text) > MOST_SIZE_CHARS:
        raise ValueError("is no size")
    Size.parse(text)
    return text


def _parameters(text: str) -> str:
    if not isinstance(read_json(text), dict):
        raise ValueError("is no record of parameters")
    return text


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError("is no name of a production")
    return text


ClipId = Annotated[str, AfterValidator(_safe_id)]
Inside = Annotated[str, AfterValidator(_inside)]
Name = Annotated[str, AfterValidator(_name)]
Usd = Annotated[float, Field(ge=0, le=MOST_USD, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Record(BaseModel):
    """What both have in common; columns of the user's own are left as they are."""

    model_config = ConfigDict(extra="allow", strict=True, protected_namespaces=())

    clip_id: ClipId
    production: Name | None = None
    file_name: Inside | None
    prompt: str
    image: str | None
    image_sha256: str | None
    model: str
    model_returned: str | None
    account: str | None = None
    provider: str | None
    simulated: bool | None = None
    prediction_id: str | None
    poster_path: Inside | None

    @model_validator(mode="after")
    def _is_of_its_clip(self) -> Self:
        """One clip's video is never shown as another's, and no other file of the output as a video."""
        if self.file_name is not None and not self.file_name.startswith(f"videos/{self.clip_id}/"):
            raise ValueError(f"file_name is not below videos/{self.clip_id}")
        if self.poster_path is not None and not self.poster_path.startswith(".posters/"):
            raise ValueError("poster_path is not below .posters")
        return self


class _Sidecar(_Record):
    """What stands beside a video."""

    attempt: Annotated[int, Field(ge=1, le=MOST_ATTEMPTS)]
    fingerprint: str
    cost_usd: Annotated[Usd, Field(strict=False)]  # written as text, so that no cent is lost
    carried: dict[str, Any] = {}
    parameters: dict[str, str | int | float | bool] = {}
    file_name: Inside
    bytes: Count
    sha256: str
    width: Annotated[Count, Field(ge=1)]
    height: Annotated[Count, Field(ge=1)]
    fps: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    frames: Count
    duration_s: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
    video_codec: str
    has_audio: bool
    c2pa: bool


class _OutputRow(_Record):
    """A row that is a clip."""

    status: Annotated[ClipStatus, Field(strict=False)]
    size: Annotated[str, AfterValidator(_size)]
    duration: Annotated[int, Field(ge=1, le=86_400)]
    take: int | None
    attempts: Annotated[int, Field(ge=0, le=MOST_ATTEMPTS)]
    provider_status: str | None
    error_kind: str | None
    error_message: str | None
    retryable: bool | None
    submitted_at: AwareDatetime | None
    completed_at: AwareDatetime | None
    stored_at: AwareDatetime | None
    cost_usd: Usd | None
    fingerprint: str | None
    run_id: str | None
    manifest_sha256: str | None
    row_number: int
    parameters: Annotated[str, AfterValidator(_parameters)] | None = None

    @model_validator(mode="after")
    def _delivered_has_a_video(self) -> Self:
        if self.status is ClipStatus.DELIVERED:
            told = self.model_extra or {}
            missing = [name for name in _FACTS if told.get(name) is None]
            if self.file_name is None or missing:
                raise ValueError(
                    f"is delivered without {', '.join(['file_name'] * (not self.file_name) + missing)}"
                )
        return self


_FACTS = tuple(VideoFacts.__dataclass_fields__)
ROW_COLUMNS = frozenset(name for name, field in _OutputRow.model_fields.items() if field.is_required())


def why_no_sidecar(content: Mapping[str, Any]) -> str | None:
    """What is wrong with a sidecar; None: it can be believed."""
    return _why_not(_Sidecar, content)


def why_no_row(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a row of an output manifest; None: it can be believed."""
    return _why_not(_OutputRow, row)


def _why_not(model: type[_Record], content: Mapping[str, Any]) -> str | None:
    try:
        model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        return f"{field}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")
    return None
