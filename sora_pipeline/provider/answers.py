"""Reading a provider's answer: any bytes at all in, a typed view out that never raises.

Vendors differ, and contradict their own pages, in where they put an id, a status, a URL or an error; every place that was
documented or seen in client code is looked at here. What an answer *means* is decided in ``failures`` and ``predictions``.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeGuard
from urllib.parse import unquote, urlsplit

from sora_pipeline.provider.origins import absolute

_MAX_ID_LENGTH = 512
_ID_IN_PATH = re.compile(r"/(?:predictions/([^/]+)(?:/result)?|tasks/result/([^/]+)|videos/([^/]+))/?$")
_ID_FIELDS = ("id", "task_id", "taskId", "video_id", "request_id")
_EMPTY: Mapping[str, Any] = {}


def read_answer(content: bytes) -> "Answer":
    """The answer in these bytes; an empty one where they are no JSON object."""
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        return Answer(_EMPTY, is_json=False, text=content[:2000].decode("utf-8", "replace"))
    if isinstance(parsed, list):
        parsed = {"data": parsed}
    return Answer(parsed if isinstance(parsed, dict) else _EMPTY, is_json=isinstance(parsed, dict), text="")


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        body: The JSON object, empty where there was none.
        is_json: Whether there was one.
        text: The beginning of an answer that was no JSON.
    """

    body: Mapping[str, Any]
    is_json: bool
    text: str

    @cached_property
    def job(self) -> Mapping[str, Any]:
        """The object that describes the prediction: ``data``, its first element, or the body itself."""
        return next(self._jobs(), _EMPTY)

    def about(self, prediction_id: str) -> "Answer":
        """The same answer with that prediction first, where ``data`` lists several."""
        chosen = next((job for job in self._jobs() if _identifier(job.get("id")) == prediction_id), None)
        return self if chosen is None else Answer({**self.body, "data": chosen}, self.is_json, self.text)

    def _jobs(self) -> Iterator[Mapping[str, Any]]:
        data = self.body.get("data")
        if isinstance(data, dict):
            yield data
        elif isinstance(data, list):
            yield from (item for item in data if isinstance(item, dict))
        elif data is None:
            yield self.body

    @property
    def prediction_id(self) -> str | None:
        """From ``id``, or parsed out of the poll URL, or from ``task_id``."""
        named = (_identifier(self.job.get(field)) for field in ("task_id", "taskId"))
        return (
            _identifier(self.job.get("id"))
            or self._id_in_poll_url()
            or next((id for id in named if id), None)
        )

    @property
    def prediction_ids(self) -> tuple[str, ...]:
        """All ids that the job has here, the one above first: gateways show their own beside the upstream's."""
        first = self.prediction_id
        others = (_identifier(self.job.get(field)) for field in _ID_FIELDS)
        return () if first is None else tuple(dict.fromkeys(id for id in (first, *others) if id is not None))

    def _id_in_poll_url(self) -> str | None:
        for reference in self._poll_references():
            match = _ID_IN_PATH.search(_path(reference))
            if match:
                return _identifier(unquote(next(group for group in match.groups() if group)))
        return None

    def poll_url(self, base_url: str) -> str | None:
        """Absolute; a relative one (unified format) is resolved against the base URL."""
        urls = (absolute(base_url + "/", reference) for reference in self._poll_references())
        return next((url for url in urls if url is not None), None)

    def _poll_references(self) -> Iterator[str]:
        urls = self.job.get("urls")
        # The v3 page's text says a list, its sample has an object.
        for holder in urls if isinstance(urls, list) else [urls]:
            if isinstance(holder, dict) and isinstance(holder.get("get"), str):
                yield holder["get"]
            elif isinstance(holder, str):
                yield holder
        if isinstance(self.job.get("polling_url"), str):
            yield self.job["polling_url"]

    @property
    def status(self) -> str | None:
        """The provider's status word. An envelope's own ("success") says nothing about the job."""
        return _first_text(self.job, "status", "task_status", "state") or None

    @property
    def native_status(self) -> str | None:
        """The upstream's own status word, which the unified format passes on."""
        word = self.job.get("native_status")
        return word if isinstance(word, str) and word.strip() else None

    @property
    def model(self) -> str | None:
        """The model that answers, which may not be the one asked for."""
        name = self.job.get("model")
        return name if isinstance(name, str) and name else None

    @property
    def progress(self) -> float | None:
        """Per cent done, where the job says so."""
        value = self.job.get("progress")
        if isinstance(value, str):
            value = value.strip().removesuffix("%")
        try:
            return None if value is None or isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            return None

    def certain_output_urls(self, base_url: str) -> tuple[str, ...]:
        """Output URLs that can be nothing else: not a picture, and not where thumbnails, inputs or poll URLs are shown, too."""
        urls = self.output_urls(base_url, places=_CERTAIN_PLACES)
        return tuple(url for url in urls if not _path(url).lower().endswith(_PICTURES))

    def output_urls(self, base_url: str, places: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Output URLs of the first place that holds any."""
        polls = {self.poll_url(base_url)}
        for place in places or _OUTPUT_PLACES:
            references = [absolute(base_url + "/", reference) for reference in _urls_in(self.job.get(place))]
            urls = tuple(dict.fromkeys(url for url in references if url is not None and url not in polls))
            if urls:
                return urls
        return ()

    @property
    def expires_at(self) -> datetime | None:
        """When the output will be gone."""
        return read_timestamp(self.job.get("expires_at", self.job.get("expiresAt")))

    @property
    def is_dated_completed(self) -> bool:
        """Whether the job says when it was completed: OpenAI's video objects name no URL, but that."""
        return read_timestamp(self.job.get("completed_at")) is not None

    @property
    def has_nsfw(self) -> bool:
        """Whether any output is flagged; submit and result spell the field differently."""
        flags = self.job.get("has_nsfw_contents", self.job.get("hasNsfwContents"))
        return flags is True or (isinstance(flags, list) and any(flag is True for flag in flags))

    @cached_property
    def error_message(self) -> str:
        """The provider's words about what went wrong; empty where it said none."""
        for error in self._errors():
            words = (
                error if isinstance(error, str) else _first_text(error, "message", "msg", "detail", "reason")
            )
            if words.strip():
                return words
        return _first_text(self.job, *_FAILURE_FIELDS) or _first_text(
            self.body, "message", "msg", "detail", "title"
        )

    @cached_property
    def error_codes(self) -> tuple[str, ...]:
        """All codes and types that go with the error, as text: they may be numbers, digits or words."""
        holders = [error for error in self._errors() if isinstance(error, dict)] + [self.body]
        values = (holder.get(key) for holder in holders for key in ("code", "type", "status_code"))
        return tuple(str(value) for value in values if _is_code(value))

    @property
    def numeric_codes(self) -> tuple[int, ...]:
        """Those codes that look like an HTTP status."""
        digits = (code for code in self.error_codes if code.isascii() and code.isdigit() and len(code) == 3)
        return tuple(int(code) for code in digits)

    @property
    def refusal_code(self) -> int | None:
        """The HTTP-like error code an answer carries in its body, whatever its HTTP status says.

        The envelope's own comes first: it stands for the HTTP status where the error's says more (policy: 400 and 503).
        """
        envelope = str(self.body.get("code"))
        refusals = [code for code in self.numeric_codes if code >= 400]
        return next((code for code in refusals if str(code) == envelope), refusals[0] if refusals else None)

    @property
    def envelope_refusal_code(self) -> int | None:
        """An error code beside the job and not of its error: "completed" in an envelope that says 500."""
        codes = (str(self.body.get(field)) for field in ("code", "status_code"))
        numbers = (int(code) for code in codes if code.isascii() and code.isdigit() and len(code) == 3)
        return next((number for number in numbers if number >= 400), None)

    @property
    def names_error(self) -> bool:
        """Whether the body says that something went wrong, in any of the documented shapes."""
        return self.refusal_code is not None or any(True for _ in self._errors())

    @property
    def job_names_error(self) -> bool:
        """Whether the job itself has an error, or says why it failed, whatever stands in an envelope around it."""
        reason = _first_text(self.job, *_FAILURE_FIELDS)
        # new-api once kept a finished video's URL in fail_reason.
        error = self.job.get("error")
        return (
            _is_error(error)
            or (isinstance(error, list) and error != [])
            or bool(reason and not reason.startswith("http"))
        )

    def _errors(self) -> Iterator[str | Mapping[str, Any]]:
        """``data.error`` first, it is about the job; then the body's own."""
        holders = [self.job] if self.job is self.body else [self.job, self.body]
        for holder in holders:
            error = holder.get("error")
            if _is_error(error):
                yield error


# Where the video's URL was documented or seen, in the order clients look. `soraVideoUrl` is GPTProto's addition to the
# OpenAI format, `unsigned_urls` the unified format's, `video` xAI's, `creations` Vidu's.
_CERTAIN_PLACES = (
    "outputs",
    "output",
    "video_url",
    "soraVideoUrl",
    "unsigned_urls",
    "video",
    "videos",
    "creations",
)
_OUTPUT_PLACES = (*_CERTAIN_PLACES, "url", "result", "images")
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif")
_FAILURE_FIELDS = ("fail_reason", "failure_reason", "failureCode", "failMsg", "err_code", "error_message")
_URL_KEYS = ("url", "video_url", "soraVideoUrl", "href", "uri")


def _is_error(error: object) -> TypeGuard[str | Mapping[str, Any]]:
    if isinstance(error, str):
        return bool(error.strip())
    return isinstance(error, dict) and any(value not in (None, "", 0) for value in error.values())


def _urls_in(value: object, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        if value.strip().startswith(("http://", "https://", "/")):
            yield value
    elif isinstance(value, list) and depth < 3:
        for item in value:
            yield from _urls_in(item, depth + 1)
    elif isinstance(value, dict) and depth < 3:
        for key in _URL_KEYS:
            yield from _urls_in(value.get(key), depth + 1)


def read_timestamp(value: object) -> datetime | None:
    """A moment in UTC from epoch seconds (number or digits) or ISO text; text without a zone is taken as UTC."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        if not isinstance(value, str):
            return None
        text = value.strip()
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text, re.ASCII):
            return datetime.fromtimestamp(float(text), UTC)
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _identifier(value: object) -> str | None:
    """An id that can be stored and put into a path, or None."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 10**40 else None
    if not isinstance(value, str):
        return None
    text = value.strip()
    storable = text.isprintable() and not any("\ud800" <= character <= "\udfff" for character in text)
    return text if 0 < len(text) <= _MAX_ID_LENGTH and storable and text not in (".", "..") else None


def _path(reference: str) -> str:
    try:
        return urlsplit(reference).path
    except ValueError:
        return ""


def _first_text(holder: Mapping[str, Any], *keys: str) -> str:
    values = (holder.get(key) for key in keys)
    return next((value for value in values if isinstance(value, str) and value.strip()), "")


def _is_code(value: object) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= 100
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9
