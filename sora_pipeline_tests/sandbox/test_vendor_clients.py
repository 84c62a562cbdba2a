"""The vendors' own clients against the sandbox: where they stumble, the sandbox is wrong."""

import io
from collections.abc import Callable, Iterator

import gptproto
import httpx
import openai
import pytest
from gptproto.models import (
    FrameImage,
    FrameImageFrameType,
    FrameImageType,
    ImageUrl,
    UnifiedVideoRequest,
    VideoAspectRatio,
    VideoResolution,
)

from sora_pipeline_tests.sandbox.conftest import FRAMES, Client

# The vendor calls the whole of client.videos deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Draw = Callable[[int, int], bytes]


def frames_of(video: bytes) -> int:
    import av

    with av.open(io.BytesIO(video)) as container:
        return sum(1 for _ in container.decode(video=0))


# --- openai ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def openai_client(sandbox: Client) -> Iterator[openai.OpenAI]:
    endpoint = sandbox.endpoint
    with openai.OpenAI(base_url=f"{endpoint.url}/v1", api_key=endpoint.api_key, max_retries=0) as client:
        yield client


def test_openai_creates_polls_and_downloads(openai_client: openai.OpenAI) -> None:
    created = openai_client.videos.create(model="sora-2-pro", prompt="a fox", seconds="4", size="1280x720")
    assert (created.object, created.status, created.progress) == ("video", "queued", 0)
    assert (created.model, created.seconds, created.size) == ("sora-2-pro", "4", "1280x720")
    video = openai_client.videos.poll(created.id, poll_interval_ms=50)
    assert (video.status, video.progress, video.error) == ("completed", 100, None)
    assert video.completed_at is not None
    assert video.expires_at == video.completed_at + 3600
    assert frames_of(openai_client.videos.download_content(video.id).content) == FRAMES


def test_openai_answers_have_the_types_that_the_client_declares(openai_client: openai.OpenAI) -> None:
    """The client itself builds its answers without a look at the types."""
    created = openai_client.videos.create(prompt="a fox")
    done = openai_client.videos.poll(created.id, poll_interval_ms=50)
    failed = openai_client.videos.create_and_poll(prompt="a [sandbox:policy-late] fox", poll_interval_ms=50)
    for video in (created, done, failed, *openai_client.videos.list()):
        assert type(video).model_validate(video.model_dump(), strict=True) == video


def test_openai_takes_a_first_frame_as_file_and_as_url(
    openai_client: openai.OpenAI, sandbox: Client, picture: Draw
) -> None:
    import base64
    import hashlib

    image = picture(720, 1280)
    url = "data:image/png;base64," + base64.b64encode(image).decode()
    openai_client.videos.create(prompt="file", input_reference=("a.png", image, "image/png"))
    # The client declares an object as input_reference, and then refuses to send one: so beside its own fields, which it
    # flattens into the form, and as JSON.
    openai_client.videos.create(prompt="form", extra_body={"input_reference": {"image_url": url}})
    body = {"prompt": "json", "input_reference": {"image_url": url}}
    openai_client.post("/videos", body=body, cast_to=type(openai_client.videos.create(prompt="text")))
    hashes = {item["prompt"]: item["image_sha256"] for item in sandbox.bill()["items"]}
    sha256 = hashlib.sha256(image).hexdigest()
    assert hashes == {"file": sha256, "form": sha256, "json": sha256, "text": None}


def test_openai_downloads_a_thumbnail(openai_client: openai.OpenAI) -> None:
    from PIL import Image

    video = openai_client.videos.create_and_poll(prompt="a fox", poll_interval_ms=50)
    answer = openai_client.videos.download_content(video.id, variant="thumbnail")
    assert answer.response.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(answer.content)) as thumbnail:
        assert (thumbnail.format, thumbnail.size) == ("WEBP", (720, 1280))


def test_openai_lists_page_by_page_and_deletes(openai_client: openai.OpenAI, sandbox: Client) -> None:
    ids = [openai_client.videos.create(prompt=f"clip {number}").id for number in range(5)]
    assert [video.id for video in openai_client.videos.list(limit=2)] == ids[::-1]
    assert [video.id for video in openai_client.videos.list(limit=2, order="asc")] == ids
    openai_client.videos.poll(ids[0], poll_interval_ms=50)
    gone = openai_client.videos.delete(ids[0])
    assert (gone.id, gone.deleted, gone.object) == (ids[0], True, "video.deleted")
    with pytest.raises(openai.NotFoundError):
        openai_client.videos.retrieve(ids[0])
    assert [video.id for video in openai_client.videos.list()] == ids[:0:-1]
    assert sandbox.bill()["accepted"] == 5


def test_openai_job_that_fails_says_why(openai_client: openai.OpenAI) -> None:
    video = openai_client.videos.create_and_poll(prompt="a [sandbox:policy-late] fox", poll_interval_ms=50)
    assert video.status == "failed"
    assert video.error is not None
    assert video.error.code == "moderation_blocked"
    with pytest.raises(openai.NotFoundError):
        openai_client.videos.download_content(video.id)


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ("policy", openai.BadRequestError, "moderation_blocked"),
        ("bad-token", openai.PermissionDeniedError, "invalid_api_key"),
        ("no-balance", openai.RateLimitError, "insufficient_quota"),
        ("model-gone", openai.NotFoundError, "model_not_found"),
        ("rate-limit-once", openai.RateLimitError, "rate_limit_exceeded"),
        ("error-500", openai.InternalServerError, None),
        ("html-502", openai.InternalServerError, None),
        ("lost-answer", openai.APIConnectionError, None),
    ],
)
def test_openai_meets_faults_as_its_own_errors(
    openai_client: openai.OpenAI, fault: str, error: type[openai.APIError], code: str | None
) -> None:
    with pytest.raises(error) as caught:
        openai_client.videos.create(prompt=f"a [sandbox:{fault}] fox")
    assert caught.value.code == code


def test_openai_client_with_a_wrong_key_and_its_models(openai_client: openai.OpenAI) -> None:
    assert openai_client.models.retrieve("sora-2-pro").id == "sora-2-pro"
    assert "wan-2.6" in {model.id for model in openai_client.models.list()}
    with pytest.raises(openai.NotFoundError):
        openai_client.models.retrieve("sora-9")
    with pytest.raises(openai.AuthenticationError) as caught:
        openai_client.with_options(api_key="wrong").videos.list(limit=1)
    assert caught.value.code == "invalid_api_key"


def test_openai_client_resends_a_lost_create_and_pays_twice(
    openai_client: openai.OpenAI, sandbox: Client
) -> None:
    """Why the pipeline has a client of its own: this one's default is two retries, creates included."""
    patient = openai_client.with_options(max_retries=2)
    patient.videos.create(prompt="a [sandbox:lost-answer-once] fox")
    assert sandbox.bill()["accepted"] == 2


# --- gptproto ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def gptproto_client(sandbox: Client) -> gptproto.GptprotoClient:
    return gptproto.GptprotoClient(api_key=sandbox.endpoint.api_key, base_url=sandbox.endpoint.url)


def test_gptproto_runs_to_the_end_and_the_output_can_be_downloaded(
    gptproto_client: gptproto.GptprotoClient,
) -> None:
    seen: list[str] = []
    result = gptproto_client.run(
        "video",
        UnifiedVideoRequest(model="openai/sora-2-pro", prompt="a fox", duration=4, size="1280x720"),
        poll_interval=0.05,
        on_status=lambda _, status: seen.append(status),
    )
    assert (seen[0], seen[-1], result.native_status) == ("pending", "completed", "completed")
    assert result.model == "openai/sora-2-pro"
    assert isinstance(result.unsigned_urls, list)
    assert frames_of(httpx.get(result.unsigned_urls[0]).content) == FRAMES


def test_gptproto_creates_and_asks_at_both_addresses(gptproto_client: gptproto.GptprotoClient) -> None:
    created = gptproto_client.create("video", UnifiedVideoRequest(model="openai/sora-2", prompt="a fox"))
    assert created.polling_url == f"/api/v3/tasks/result/{created.id}"
    assert created.generation_id
    assert gptproto_client.get(created.id, "video").id == gptproto_client.get(created.id, "image").id


def test_gptproto_sends_first_frames(
    gptproto_client: gptproto.GptprotoClient, sandbox: Client, picture: Draw
) -> None:
    import base64

    url = "data:image/png;base64," + base64.b64encode(picture(1280, 720)).decode()
    frame = FrameImage(FrameImageType.IMAGE_URL, FrameImageFrameType.FIRST_FRAME, ImageUrl(url))
    request = UnifiedVideoRequest(
        model="openai/sora-2", prompt="a fox", size="1280x720", frame_images=[frame]
    )
    gptproto_client.create("video", request)
    assert sandbox.bill()["items"][0]["image_sha256"]


def test_gptproto_reaches_models_that_take_no_size(
    gptproto_client: gptproto.GptprotoClient, sandbox: Client
) -> None:
    request = UnifiedVideoRequest(
        model="doubao/dreamina-seedance-2-0-260128",
        prompt="a fox",
        duration=5,
        resolution=VideoResolution.RESOLUTION_720P,
        aspect_ratio=VideoAspectRatio.LANDSCAPE_16_9,
    )
    gptproto_client.create("video", request)
    (item,) = sandbox.bill()["items"]
    assert (item["size"], item["duration"], item["cost_usd"]) == ("1280x720", 5, "0.83160")


@pytest.mark.parametrize("fault", ["policy-late", "no-resource", "cancelled"])
def test_gptproto_task_that_fails_says_why(gptproto_client: gptproto.GptprotoClient, fault: str) -> None:
    request = UnifiedVideoRequest(model="openai/sora-2", prompt=f"a [sandbox:{fault}] fox")
    with pytest.raises(gptproto.TaskFailedError) as caught:
        gptproto_client.run("video", request, poll_interval=0.05)
    assert caught.value.status == ("cancelled" if fault == "cancelled" else "failed")
    assert isinstance(caught.value.error, str)
    assert caught.value.error


def test_gptproto_refusals_are_read(gptproto_client: gptproto.GptprotoClient, sandbox: Client) -> None:
    """The first is what the vendor's own contract test expects of the real gateway."""
    with pytest.raises(RuntimeError, match="code=400 message=unknown video model"):
        gptproto_client.create("video", UnifiedVideoRequest(model="sdk-test/not-a-real-model", prompt="x"))
    with pytest.raises(RuntimeError, match="code=503 message=Input may not meet the guidelines"):
        gptproto_client.create(
            "video", UnifiedVideoRequest(model="openai/sora-2", prompt="a [sandbox:policy] fox")
        )
    stranger = gptproto.GptprotoClient(api_key="wrong", base_url=sandbox.endpoint.url)
    with pytest.raises(RuntimeError, match="code=401"):
        stranger.get("job-1")
