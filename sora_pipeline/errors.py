"""The base of every error that a user can cause and mend; what is not one of these is a bug and keeps its traceback.

What to type is said at the edge: ``advice.explained`` adds it to an error or a reason, by its code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sora_pipeline.uris import without_secrets


class SoraPipelineError(Exception):
    """An error whose text is for people: what was wrong, and what is allowed.

    Each room has errors of its own below this one; none of them ever holds a secret, and URIs in its texts are shown
    without theirs, also where the words are another library's.

    Args:
        message: What was wrong.
        code: The cause in one word, where there is advice for it.
        facts: What that advice names: a path, a production.

    Attributes:
        message: The same, URIs without their secrets.
    """

    def __init__(self, message: str = "", code: str = "", **facts: str) -> None:
        self.message = without_secrets(message)
        super().__init__(self.message)
        self.code = code
        self.facts = {name: without_secrets(fact) for name, fact in facts.items()}


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

    def __post_init__(self) -> None:
        object.__setattr__(self, "sentence", without_secrets(self.sentence))
        object.__setattr__(self, "facts", {name: without_secrets(fact) for name, fact in self.facts.items()})


Explain = Callable[[Exception | Reason], str]
"""The whole text of an error or a reason, advice included: what an edge hands to rooms that keep texts for people."""
