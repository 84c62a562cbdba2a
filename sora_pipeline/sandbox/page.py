"""``GET /``: a small page for people who open the sandbox's URL in a browser."""

import html

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from sora_pipeline.sandbox.emulator import Emulator
from sora_pipeline.sandbox.faults import FAULTS
from sora_pipeline.sandbox.jobs import Job, Outcome

_SHOWN = 200
_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Sandbox provider</title>
<meta name="viewport" content="width=device-width"><style>
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top}
tr{border-top:1px solid #8884}code{background:#8882;padding:0 .2rem}</style>"""


class PageRoutes:
    """The page.

    Args:
        emulator: What it tells of.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def routes(self) -> list[Route]:
        """For the application."""
        return [Route("/", self.page, methods=["GET"])]

    async def page(self, request: Request) -> Response:
        """What this is, what it would have cost, what runs, what is finished."""
        store = self._emulator.store
        jobs = list(store.all())
        newest = "".join(_row(job) for job in reversed(jobs[-_SHOWN:]))
        faults = "".join(
            f"<tr><td><code>{fault.marker}</code><td>{html.escape(fault.does)}" for fault in FAULTS.values()
        )
        return HTMLResponse(
            f"{_HEAD}<h1>Sandbox provider</h1>"
            "<p>It behaves like a video provider, makes real files of coloured shapes, and costs nothing.</p>"
            f"<p>{len(jobs)} accepted, {store.running} running, <b>{store.total_usd} USD</b> would have been billed. "
            '<a href="/sandbox/bill">Bill</a> · <a href="/sandbox/settings">Settings</a></p>'
            f"<h2>Jobs</h2><table><tr><th>Video<th>Prompt<th>Clip<th>USD{newest}</table>"
            f"<h2>Faults a prompt can ask for</h2><table>{faults}</table>"
        )


def _row(job: Job) -> str:
    status = html.escape(job.outcome.value if job.outcome else job.state().value)
    if job.outcome is Outcome.COMPLETED and job.has_file:
        status = f'<a href="/outputs/{job.output_name}">{status}</a>'
    prompt = html.escape(job.prompt[:120])
    return f"<tr><td>{status}<td>{prompt}<td>{html.escape(job.model)} {job.size} {job.duration} s<td>{job.cost_usd}"
