import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime

import httpx
import pytest

from sora_pipeline_tests.sandbox.conftest import Client, client_of


def test_concurrency_limit_holds_for_submits_at_the_same_moment(sandbox: Client) -> None:
    sandbox.change(max_running=3, render_s=0.6)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda number: sandbox.submit(f"clip {number}"), range(12)))
    statuses = [answer.status_code for answer in answers]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert statuses.count(200) == 3
    assert refused[0].json() == {"error": {"message": "Too many running tasks", "type": "429"}}
    assert sandbox.bill()["accepted"] == 3
    for item in sandbox.bill()["items"]:
        sandbox.wait(item["prediction_id"])
    sandbox.accept("one more")


@pytest.mark.parametrize("form", ["none", "seconds", "date"])
def test_rate_limit_says_when_to_come_back(sandbox: Client, form: str) -> None:
    sandbox.change(submits_per_minute=2, retry_after=form, render_s=60)
    sandbox.accept("one")
    sandbox.accept("two")
    answer = sandbox.submit("three")
    assert answer.status_code == 429
    header = answer.headers.get("retry-after")
    if form == "none":
        assert header is None
    elif form == "seconds":
        assert 55 <= int(header) <= 60
    else:
        assert 50 <= parsedate_to_datetime(header).timestamp() - time.time() <= 62


def test_balance_runs_out_and_can_be_topped_up(sandbox: Client) -> None:
    sandbox.change(balance_usd="2.40", render_s=60)
    sandbox.accept("one")
    sandbox.accept("two")
    answer = sandbox.submit("three")
    assert (answer.status_code, answer.json()["error"]["message"]) == (403, "Insufficient balance")
    sandbox.change(balance_usd=100)
    sandbox.accept("three")


def test_revoked_key_stops_polls_too_and_downloads_go_on(sandbox: Client) -> None:
    prediction = sandbox.accept()
    url = sandbox.wait(prediction)["outputs"][0]
    sandbox.change(key_revoked=True)
    assert sandbox.submit().status_code == 401
    assert sandbox.http.get(f"/api/v3/predictions/{prediction}/result").status_code == 401
    assert httpx.get(url).status_code == 200


def test_model_gone_stops_submits_only(sandbox: Client) -> None:
    prediction = sandbox.accept()
    sandbox.change(model_gone=True)
    assert sandbox.submit().status_code == 404
    assert sandbox.wait(prediction)["status"] == "completed"


@pytest.mark.parametrize(("outage", "status"), [("500", 500), ("502", 502), ("503", 503)])
def test_outage_answers_everything_with_an_error(sandbox: Client, outage: str, status: int) -> None:
    prediction = sandbox.accept()
    sandbox.change(outage=outage)
    assert sandbox.submit().status_code == status
    assert sandbox.http.get(f"/api/v3/predictions/{prediction}/result").status_code == status
    sandbox.change(outage="none")
    assert sandbox.wait(prediction)["status"] == "completed"


def test_reset_outage_cuts_connections_and_ends_by_itself(sandbox: Client) -> None:
    sandbox.change(outage="reset", outage_s=0.5)
    with pytest.raises(httpx.TransportError):
        sandbox.submit()
    time.sleep(0.6)
    assert sandbox.submit().status_code == 200
    assert sandbox.http.get("/sandbox/settings").json()["outage"] == "none"


def test_hanging_provider_runs_into_the_clients_timeout(sandbox: Client) -> None:
    sandbox.change(outage="hang")
    with pytest.raises(httpx.ReadTimeout):
        sandbox.http.post("/api/v3/openai/sora-2/text-to-video", json={"prompt": "x"}, timeout=0.3)
    assert sandbox.bill()["accepted"] == 0


def test_refused_connections_come_back_on_the_same_port(sandbox: Client) -> None:
    sandbox.change(outage="refuse", outage_s=0.7)
    url = f"{sandbox.endpoint.url}/sandbox/health"
    deadline = time.monotonic() + 30
    while answers(url):
        assert time.monotonic() < deadline
    while not answers(url):
        assert time.monotonic() < deadline
    assert client_of(sandbox.endpoint).submit().status_code == 200


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.ConnectError:
        return False


def test_bad_settings_are_named_and_change_nothing(sandbox: Client) -> None:
    for changes, words in (
        ({"outage": "some"}, "outage"),
        ({"api_key": "other"}, "cannot be changed"),
        ({"fault_rates": {"nothing": 1}}, "no such fault"),
        ({"render_s": -1}, "render_s"),
    ):
        answer = sandbox.http.put("/sandbox/settings", json=changes)
        assert answer.status_code == 400
        assert words in answer.json()["error"]["message"]
    assert sandbox.submit().status_code == 200


def test_bill_counts_every_accepted_submit(sandbox: Client) -> None:
    sandbox.change(render_s=60)
    for _ in range(2):
        sandbox.accept("same", duration=8, size="1024x1792")
    sandbox.accept("other", model="sora-2")
    bill = sandbox.bill()
    assert bill["accepted"] == 3
    assert (bill["total_usd"], bill["total_usd_number"]) == ("8.40", 8.4)
    assert bill["by_prompt"] == {"same": 2, "other": 1}
    assert [entry["extra_usd"] for entry in bill["duplicates"]] == ["4.00"]
    assert {item["status"] for item in bill["items"]} <= {"created", "processing"}


def test_page_shows_the_total_and_escapes_prompts(sandbox: Client) -> None:
    sandbox.accept("<script>alert(1)</script>")
    page = sandbox.http.get("/").text
    assert "1.20 USD" in page
    assert "<script>" not in page
