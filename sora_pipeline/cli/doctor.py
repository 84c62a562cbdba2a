"""``sora-pipeline doctor``: is everything there that a production needs?"""

import typer

from sora_pipeline.cli.output import AS_JSON, BAD_INPUT, OK, console, print_json
from sora_pipeline.cli.terminal import styled

_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "yellow")}


def doctor(
    as_json: bool = AS_JSON,
) -> None:
    """Check settings, key, provider, model, ledger, output and Dagster home. Spends nothing. Exit 0 or 2."""
    import asyncio

    from sora_pipeline.headless.doctor import examine
    from sora_pipeline.runtime import provider_config

    findings = asyncio.run(examine(provider_config))
    if as_json:
        print_json(
            {
                "findings": [
                    {"subject": finding.subject, "healthy": finding.healthy, "sentence": finding.sentence}
                    for finding in findings
                ]
            }
        )
    else:
        for finding in findings:
            mark = _MARKS[finding.healthy]
            console.print(styled(mark, " ", (finding.subject, "bold"), f"  {finding.sentence}"))
    raise typer.Exit(BAD_INPUT if any(finding.healthy is False for finding in findings) else OK)
