"""What all wire formats' routes do alike: let a request in, and answer for what is refused."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sora_pipeline.sandbox.emulator import Emulator
from sora_pipeline.sandbox.formats.error_answers import bad_gateway, retry_after
from sora_pipeline.sandbox.formats.request_body import bearer_key
from sora_pipeline.sandbox.refusals import Problem, Refusal

Handler = Callable[[Request], Awaitable[Response]]


class FormatRoutes(ABC):
    """The endpoints of one wire format.

    Args:
        emulator: Whom they speak for.
    """

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator

    @abstractmethod
    def routes(self) -> list[Route]:
        """For the application."""

    @abstractmethod
    def error(self, refusal: Refusal, headers: dict[str, str]) -> Response:
        """The answer to a request that is refused."""

    def route(self, method: str, path: str, handler: Handler) -> Route:
        """A route whose caller needs the key, and whose refusals come in this format's shape."""

        async def endpoint(request: Request) -> Response:
            try:
                await self.emulator.admit(bearer_key(request))
                return await handler(request)
            except Refusal as refusal:
                if refusal.problem is Problem.BAD_GATEWAY:
                    return bad_gateway()
                return self.error(refusal, retry_after(refusal, self.emulator.settings.retry_after))

        return Route(path, endpoint, methods=[method])
