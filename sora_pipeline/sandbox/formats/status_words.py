"""How status words are status_word on purpose, the same way in every wire format."""

from sora_pipeline.sandbox.faults import Words
from sora_pipeline.sandbox.jobs import Job, State

_ODD = {State.CREATED: "warming_up", State.PROCESSING: "post_processing"}


def status_word(word: str, job: Job, state: State) -> str:
    """The word that the job's faults make of a status word."""
    for fault in job.faults:
        if fault.words is Words.ODD:
            word = _ODD.get(state, word)
        elif fault.words is Words.ODD_END and state is State.ENDED:
            word = "wrapped_up"
        elif fault.words is Words.UPPERCASE:
            word = word.upper()
    return word
