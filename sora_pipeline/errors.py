"""The base of every error that a user can cause and mend; what is not one of these is a bug and keeps its traceback.

What to type is said at the edge: ``advice.explained`` adds it to an error or a reason, by its code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


class SoraPipelineError(Exception):
    """An error whose text is for people: what was wrong, and what is allowed.

    Each room has errors of its own below this one; none of them ever holds a secret.

    Args:
        message: What was wrong.
        code: The cause in one word, where there is advice for it.
        facts: What that advice names: a path, a production.
    """

    def __init__(self, message: str = "", code: str = "", **facts: str) -> None:
        super().__init__(message)
        self.code = code
        self.facts = facts


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is as it is, where nothing is raised for it.

    Attributes:
        sentence: For people: what was found.
        code: The cause in one word, where there is advice for it.
        facts: What that advice names.
    """

    sentence: str
    code: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


Explain = Callable[[Exception | Reason], str]
"""The whole text of an error or a reason, advice included: what an edge hands to rooms that keep texts for people."""
