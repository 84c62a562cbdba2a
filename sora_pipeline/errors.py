"""The base of every error that a user can cause and mend; what is not one of these is a bug and keeps its traceback."""


class SoraPipelineError(Exception):
    """An error whose text is for people: what was wrong, and what is allowed.

    Each room has errors of its own below this one; none of them ever holds a secret. What to type is said at the edge:
    ``advice.explained`` adds it, by the error's code.

    Attributes:
        code: The cause in one word, where there is advice for it.
    """

    code: str = ""
