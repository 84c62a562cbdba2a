from textwrap import dedent

import pytest

from sora_pipeline.cli.dagster_output import what_goes_wrong


@pytest.fixture
def postgres_url() -> None:
    """Lines need no database."""


RUN = "generations_job - 91f658cc-3366-47cc-b4b5-ad2fd37daa1e - 12281"


def test_what_goes_wrong_is_shown_and_nothing_else() -> None:
    written = dedent(
        f"""\
        Serving on a port
        2026-11-29 00:04:32 +0000 - dagster - DEBUG - {RUN} - RUN_START - Started execution of run for "generations_job".
        2026-11-29 00:04:32 +0000 - dagster - INFO - {RUN} - generations - a note
        of two lines
        2026-11-29 00:04:33 +0000 - dagster - WARNING - {RUN} - generations - 2 clips were not submitted
        2026-11-29 00:04:35 +0000 - dagster - ERROR - {RUN} - generations - STEP_FAILURE - Execution of step "generations" failed.

        dagster.Failure: 1 clip could not be submitted: m:b: content_policy

        Stack Trace:
          File "execute_plan.py", line 243, in dagster_event_sequence_for_step
            yield from check.generator(step_events)
        2026-11-29 00:04:36 +0000 - dagster - ERROR - {RUN} - generations - STEP_FAILURE - Execution of step "generations" failed.

        ValueError: a bug

        Stack Trace:
          File "ours.py", line 1, in ours
        2026-11-29 00:04:37 +0000 - dagster - DEBUG - {RUN} - RUN_FAILURE - ends
        Traceback (most recent call last):
          File "server.py", line 1, in serve
        OSError: no space left

        Aborted!
        """
    )
    assert list(what_goes_wrong(written.splitlines())) == [
        "Serving on a port",
        f"2026-11-29 00:04:33 +0000 - dagster - WARNING - {RUN} - generations - 2 clips were not submitted",
        f'2026-11-29 00:04:35 +0000 - dagster - ERROR - {RUN} - generations - STEP_FAILURE - Execution of step "generations" failed.',
        "dagster.Failure: 1 clip could not be submitted: m:b: content_policy",
        f'2026-11-29 00:04:36 +0000 - dagster - ERROR - {RUN} - generations - STEP_FAILURE - Execution of step "generations" failed.',
        "ValueError: a bug",
        "Stack Trace:",
        '  File "ours.py", line 1, in ours',
        "Traceback (most recent call last):",
        '  File "server.py", line 1, in serve',
        "OSError: no space left",
    ]
