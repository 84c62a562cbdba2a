"""What to type when something is wrong: one sentence for each code of an error, added where people read it.

Lower rooms say what was wrong; only the edges (commands, runs, sensors, what the ledger keeps for people) know of
variables and options.
"""

from sora_pipeline.errors import SoraPipelineError

_ANOTHER_PLACE = "or name another place (--output for one production, SORA_OUTPUT for all)"
ADVICE = {
    "store_full": f"Free some space, {_ANOTHER_PLACE}; then run it again.",
    "store_denied": f"Give this user the right to write there, {_ANOTHER_PLACE}.",
    "store_read_only": "Name a place that can be written to (--output for one production, SORA_OUTPUT for all).",
    "store_not_a_folder": "Name a folder (--output for one production, SORA_OUTPUT for all).",
    "store_in_the_way": f"Move that folder away, {_ANOTHER_PLACE}.",
    "store_name_too_long": "Set SORA_OUTPUT to a shorter path, or use shorter clip ids.",
    "store_unknown": "Set SORA_OUTPUT to a path, or to a URI such as s3://bucket/folder.",
    "store_failed": (
        "Check SORA_OUTPUT, the credentials and the connection; what is finished is kept, so the same run can simply be "
        "repeated."
    ),
    "image_size": (
        "Give it that size, or set SORA_IMAGE_FIT=crop (cut off what stands out), pad (black bars) or stretch (distort)."
    ),
    "private_image": "If that is where your images are, set SORA_ALLOW_PRIVATE_HOSTS=true.",
    "private_address": "If that is where your provider keeps its outputs, set SORA_ALLOW_PRIVATE_HOSTS=true.",
    "ledger_url": (
        "Set SORA_LEDGER_URL to sqlite:////path/ledger.db or postgresql+psycopg2://user:password@host/database; an @ in the "
        "password is written %40."
    ),
    "account_moved": (
        "Give the new one a name of its own (SORA_ACCOUNT), or the old address back (SORA_BASE_URL) until they have ended."
    ),
    "account_taken": "Give this one a name of its own (SORA_ACCOUNT).",
}


def explained(error: Exception) -> str:
    """An error's text, and what to do about it."""
    said = str(error)
    advice = ADVICE.get(error.code) if isinstance(error, SoraPipelineError) else None
    return f"{said.rstrip('. ')}. {advice}" if advice else said
