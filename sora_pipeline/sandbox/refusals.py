"""Why the sandbox turns a request away, in words of its own; each wire format has its own shape for each."""

from enum import StrEnum


class Problem(StrEnum):
    """What a wire format turns into a status code and a body."""

    BAD_KEY = "bad-key"
    BAD_TOKEN = "bad-token"  # noqa: S105
    NO_BALANCE = "no-balance"
    MODEL_GONE = "model-gone"
    UNKNOWN_MODEL = "unknown-model"
    UNKNOWN_PREDICTION = "unknown-prediction"
    POLICY = "policy"
    POLICY_FORBIDDEN = "policy-forbidden"
    INVALID = "invalid"
    IMAGE_MISMATCH = "image-mismatch"
    RATE_LIMITED = "rate-limited"
    TOO_MANY_RUNNING = "too-many-running"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    BAD_GATEWAY = "bad-gateway"


MESSAGES = {
    Problem.BAD_KEY: "Invalid signature",
    Problem.BAD_TOKEN: "Invalid Token",
    Problem.NO_BALANCE: "Insufficient balance",
    Problem.MODEL_GONE: "The requested model has been retired and is no longer available",
    Problem.UNKNOWN_MODEL: "unknown video model",
    Problem.UNKNOWN_PREDICTION: "prediction not found",
    Problem.POLICY: "Input may not meet the guidelines. Please adjust it and try again.",
    Problem.POLICY_FORBIDDEN: "This request was blocked: the prompt or the image may violate our content policy",
    Problem.INVALID: "invalid fields",
    Problem.IMAGE_MISMATCH: "Inpaint image must match the requested width and height",
    Problem.RATE_LIMITED: "Rate limit exceeded, please slow down",
    Problem.TOO_MANY_RUNNING: "Too many running tasks",
    Problem.INTERNAL: "Internal server error",
    Problem.UNAVAILABLE: "Service temporarily unavailable",
    Problem.BAD_GATEWAY: "Bad gateway",
}


class Refusal(Exception):
    """Raised where a request is not accepted: nothing is billed.

    Args:
        problem: What is wrong.
        message: Words for the client; a usual sentence without.
        retry_after_s: Seconds until it is worth trying again, where that is known.
    """

    def __init__(
        self, problem: Problem, message: str | None = None, *, retry_after_s: float | None = None
    ) -> None:
        self.problem = problem
        self.message = message or MESSAGES[problem]
        self.retry_after_s = retry_after_s
        super().__init__(self.message)
