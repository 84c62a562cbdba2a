"""How long to wait for what. Knows no HTTP library, since every run worker imports it with the settings."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait at each point.

    Attributes:
        connect: For a TCP connection and TLS.
        pool: For a free connection of the pool, connecting included.
        submit_read: For an answer to a submit, once the request is sent.
        submit_total: For a whole submit: aiohttp has no limit for writing a body to a server that stops reading.
        poll_read: For an answer to a poll.
        output_read: Between two pieces of an output.
    """

    connect: float = 10.0
    pool: float = 60.0
    submit_read: float = 60.0
    submit_total: float = 300.0
    poll_read: float = 30.0
    output_read: float = 60.0
