"""The sandbox's own endpoints below ``/sandbox/``: health, bill, faults, settings, reset. No key is asked for."""

import os
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sora_pipeline.sandbox.bill import bill
from sora_pipeline.sandbox.emulator import Emulator
from sora_pipeline.sandbox.faults import FAULTS


class ControlRoutes:
    """What people and tests steer a running sandbox with.

    Args:
        emulator: What is steered.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def routes(self) -> list[Route]:
        """For the application."""
        return [
            Route("/sandbox/health", self.health, methods=["GET"]),
            Route("/sandbox/bill", self.bill, methods=["GET"]),
            Route("/sandbox/faults", self.faults, methods=["GET"]),
            Route("/sandbox/settings", self.settings, methods=["GET", "PUT"]),
            Route("/sandbox/reset", self.reset, methods=["POST"]),
        ]

    async def health(self, request: Request) -> Response:
        """Whether it is up, and which one it is."""
        running = self._emulator.store.running
        return JSONResponse(
            {"status": "ok", "instance": self._emulator.instance, "pid": os.getpid(), "running": running}
        )

    async def bill(self, request: Request) -> Response:
        """Everything that was accepted."""
        return JSONResponse(bill(self._emulator.store))

    async def faults(self, request: Request) -> Response:
        """The table of faults."""
        return JSONResponse(
            [
                {"name": fault.name, "marker": fault.marker, "when": fault.when, "does": fault.does}
                for fault in FAULTS.values()
            ]
        )

    async def settings(self, request: Request) -> Response:
        """Read the settings that can be changed at run time, or change some."""
        if request.method == "PUT":
            try:
                changes = await request.json()
                self._emulator.change(changes if isinstance(changes, dict) else {"": changes})
            except ValidationError as error:
                problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
                return _bad("; ".join(problems))
            except ValueError as error:
                return _bad(str(error))
        return JSONResponse(self._emulator.settings.changeable())

    async def reset(self, request: Request) -> Response:
        """Forget all jobs, the bill and the files."""
        await self._emulator.reset()
        return JSONResponse({"status": "ok"})


def _bad(message: str) -> Response:
    body: dict[str, Any] = {"error": {"message": message}}
    return JSONResponse(body, 400)
