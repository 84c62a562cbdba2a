import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from sora_pipeline.agreement import DisagreementError, settings_shown
from sora_pipeline.headless.commands import FOLDER, at_work
from sora_pipeline_tests.conftest import settings_of

HOLDS = """
import json, pathlib, sys, time
from sora_pipeline.headless.commands import at_work
with at_work(pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])):
    print("at work", flush=True)
    time.sleep(600)
"""


def shown(**settings: object) -> dict[str, object]:
    return settings_shown(settings_of(**settings), "a-ledger")


def test_two_commands_on_a_home_mean_the_same_or_the_second_one_is_refused(home: Path) -> None:
    with at_work(home, shown()), at_work(home, shown()):
        for different, words in (
            ({"budget_daily_usd": 3}, "SORA_BUDGET_DAILY_USD is 3 here and not set there"),
            ({"api_key": SecretStr("another")}, "SORA_API_KEY is another key here than there"),
        ):
            with pytest.raises(DisagreementError, match=words) as caught, at_work(home, shown(**different)):
                pass
            assert str(home) in str(caught.value)
    with at_work(home, shown(budget_daily_usd=3)):
        pass
    assert not list((home / FOLDER).glob("*.json"))


def test_command_that_was_killed_is_at_work_no_more(home: Path) -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(home), json.dumps(shown(budget_daily_usd=3))],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert command.stdout is not None
    assert command.stdout.readline() == "at work\n"
    with pytest.raises(DisagreementError), at_work(home, shown()):
        pass
    command.kill()
    command.wait()
    with at_work(home, shown()):
        assert len(list((home / FOLDER).glob("*.json"))) == 1, "nothing is left of it"
