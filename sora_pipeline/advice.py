"""What to type when something is wrong: one text for each code of an error or a reason, added where people read it.

Lower rooms say what was found; only the edges (commands, runs, sensors, what is published) know of variables, options and
commands. Texts in braces are the facts of the error or the reason.
"""

import shlex

from sora_pipeline.errors import Reason, SoraPipelineError

_PLACES = ("output", "manifest")
"""Facts that stand in commands and may hold anything that a shell understands."""
_ANOTHER_PLACE = "or name another place (--output for one production, SORA_OUTPUT for all)"
_WHEN_MADE = "Name the folder that --output (or SORA_OUTPUT) named when the videos were made."
_GO_ON = "then `sora-pipeline resume`; a daemon tries one clip by itself after {probe_at} UTC."
_PAY_FOR_ANOTHER = "`sora-pipeline retry --production {production} --clip {clip}` pays for another"
ADVICE = {
    "no_temporary_files": "Free some space there, or name another folder with TMPDIR; then run it again.",
    "store_full": f"Free some space, {_ANOTHER_PLACE}; then run it again.",
    "store_denied": f"Give this user the right to write there, {_ANOTHER_PLACE}.",
    "store_read_only": "Name a place that can be written to (--output for one production, SORA_OUTPUT for all).",
    "store_not_a_folder": "Name a folder; outputs go where --output (of one production) or SORA_OUTPUT (of all) says.",
    "store_in_the_way": f"Move that away, {_ANOTHER_PLACE}.",
    "store_name_too_long": "Set SORA_OUTPUT to a shorter path, or use shorter clip ids.",
    "store_unknown": "Set SORA_OUTPUT to a path, or to a URI such as s3://bucket/folder.",
    "secret_in_output": (
        "Give it to the storage's driver instead: its own variables or credentials file, or FSSPEC_<PROTOCOL>_<ARGUMENT>, for "
        "example FSSPEC_SFTP_PASSWORD for sftp://user@host/folder."
    ),
    "store_failed": (
        "Check SORA_OUTPUT, the credentials and the connection; what is finished is kept, so the same run can simply be "
        "repeated."
    ),
    "delta_package": "`pip install 'sora-pipeline[delta]'` brings it; SORA_TABLE=none goes without.",
    "delta_failed": (
        "All other outputs are written. Look at the place and at the credentials of the object store (AWS_…, GOOGLE_…, AZURE_…); "
        "SORA_TABLE=none goes without that table."
    ),
    "image_size": (
        "Give it that size, or set SORA_IMAGE_FIT=crop (cut off what stands out), pad (black bars) or stretch (distort)."
    ),
    "incomplete_image": "Read the manifest that has it (`sora-pipeline run`), or write the whole address into the row.",
    "private_image": "If that is where your images are, set SORA_ALLOW_PRIVATE_HOSTS=true.",
    "private_address": "If that is where your provider keeps its outputs, set SORA_ALLOW_PRIVATE_HOSTS=true.",
    "ledger_url": (
        "Set SORA_LEDGER_URL to sqlite:////path/ledger.db or postgresql+psycopg2://user:password@host/database; an @ in the "
        "password is written %40."
    ),
    "ledger_driver": (
        "`pip install 'sora-pipeline[postgres]'` brings the driver of postgresql+psycopg2://user:password@host/database, which is "
        "how SORA_LEDGER_URL names it."
    ),
    "ledger_at_work": "Pause, let what is at work end, and upgrade then: docs/upgrade.md says how.",
    "backup_server": (
        "`pg_dump --format custom` makes a copy while everything works; docs/backup.md says how it is put back."
    ),
    "account_moved": (
        "Give the new one a name of its own (SORA_ACCOUNT), or the old address back (SORA_BASE_URL) until nothing is open there."
    ),
    "account_taken": "Give this one a name of its own (SORA_ACCOUNT).",
    "account_not_configured": (
        "To have it fetched, run a daemon with SORA_PROVIDER={provider}, SORA_ACCOUNT={account} and that account's key and "
        "address."
    ),
    "unknown_model": (
        "Name the catalogue file that has it with SORA_CATALOGUE, or give those rows another model and run their manifest."
    ),
    "model_not_reached": "Set SORA_MODEL to one of them, or add yours in a file named by SORA_CATALOGUE.",
    "webhook": "It is the one that SORA_NOTIFY_URL names.",
    "same_prompt": "The job retry_job has it made once more.",
    "media_key": "Remove that file: the next command makes another key, and links that were made before end.",
    "media_server": "`pip install sora-pipeline` brings them.",
    "port_taken": "Name another port, or end the program that has it.",
    "home": "Look at DAGSTER_HOME, the folder that Dagster's storage is in (default: .sora in the current folder), and at its rights.",
    # Which production, which output.
    "manifest_moved": (
        "If it is the next manifest of that production (moved, renamed, or the next day's), say --name {production}; else "
        "give it a name of its own with --name."
    ),
    "amends_elsewhere": "Leave --output out. To move the production, run its manifest with that --output.",
    "paid_elsewhere": (
        "To go on with that production and pay for none of them again, say --name {other}; to have them made once more in a "
        "production of their own, at their price, say --name {production}."
    ),
    "report_of_another": (
        "To mend that production, hand the rows of one production in alone, where its ledger is (DAGSTER_HOME or "
        "SORA_LEDGER_URL); to have them made in a production of their own, give it a new --name."
    ),
    "several_productions": "Say which with --name.",
    "column_of_others": "Leave it out, or say with --production which productions are meant: {productions} can be named so.",
    "clip_of_several": "Say which with --production.",
    "output_unknown": (
        "`sora-pipeline adopt {output}` takes them over for nothing; or name another --output, or the DAGSTER_HOME (or "
        "SORA_LEDGER_URL) with which they were made."
    ),
    "output_of_another_ledger": (
        "Work with that ledger (DAGSTER_HOME or SORA_LEDGER_URL), name another --output, or take the output over for good with "
        "`sora-pipeline adopt {output}`."
    ),
    "ledger_replaced": (
        "If that one was lost, move the one that is there away and have it made again: `sora-pipeline ledger rebuild`; else work "
        "with it, name another --output, or take the output over for good with `sora-pipeline adopt {output}`."
    ),
    "ledger_older": (
        "Put the newer ledger back; or stop the daemon, and have this one learn what was paid for since: `sora-pipeline ledger "
        "restored --output {output}`."
    ),
    "output_taken": (
        "Leave --output out (each production gets a folder of its own), name another one, or go on with that production: "
        "--name {owner}."
    ),
    # Why clips wait, or have no video.
    "no_daemon": (
        "`sora-pipeline run {manifest} --name {production}` does the work until it is done, and `sora-pipeline dev` whatever is to be "
        "done."
    ),
    "sensors_off": "Switch them on again in the Dagster UI (Automation).",
    "silent_daemon": (
        "It has another SORA_LEDGER_URL, is of an older version, or was started just now: stop it, and start it again with these "
        "settings."
    ),
    "paused_production": "`sora-pipeline resume --production {production}` lets it go on.",
    "paused_account": "`sora-pipeline resume --account {account}` lets submits go on.",
    "cancelled": "`sora-pipeline retry --production {production} --clip {clip}` has it made after all.",
    "failed_clips": "`sora-pipeline retry --production {production}` tries again what failed, for {price}.",
    "cancelled_clips_at_price": "To have what was cancelled made after all, for {price}: `sora-pipeline retry --production {production} --kind cancelled`.",
    "cancelled_clips": "To have what was cancelled made after all: `sora-pipeline retry --production {production} --kind cancelled`.",
    "budget": "Raise it: `sora-pipeline budget {production} {usd}`, or run it again with --budget {usd}.",
    "daily_budget": "It goes on after midnight UTC, or when SORA_BUDGET_DAILY_USD is raised.",
    "never_read": "`sora-pipeline run {manifest} --name {production}` reads it and has what is missing made.",
    "read_for_another": (
        "`sora-pipeline run {manifest} --name {production}` has its pending clips made with {account}."
    ),
    "stopped": f"To go on, look at the provider's status, {_GO_ON}",
    "stopped_key": f"To go on, put a valid key into SORA_API_KEY, {_GO_ON}",
    "stopped_suspended": f"To go on, have the provider open the account again, or use another key, {_GO_ON}",
    "stopped_balance": f"To go on, top the account up, {_GO_ON}",
    "stopped_model": f"To go on, choose another model (SORA_MODEL, or the manifest's model column), {_GO_ON}",
    "stopped_content": (
        "To go on, mend the prompts and images (failed.csv in the output lists them; SORA_MAX_POLICY_FAILURES says how many in "
        f"a row are too many), {_GO_ON}"
    ),
    "ambiguous": f"Look at the provider's dashboard; {_PAY_FOR_ANOTHER}, and SORA_AMBIGUOUS_SUBMIT=resubmit has that done by itself.",
    "resubmitted": "SORA_AMBIGUOUS_SUBMIT=resubmit says so; hold leaves it to you.",
    "held_elsewhere": (
        "With that account's settings, `sora-pipeline run` of its manifest and this command fetch it at no cost; "
        f"{_PAY_FOR_ANOTHER}."
    ),
    "still_rendering": (
        "To have another made instead, which costs {price} beside the {price} of this one: "
        "`sora-pipeline retry --production {production} --clip {clip} --give-up`."
    ),
    "timed_out": "SORA_GENERATION_TIMEOUT_S={seconds} is how long a render may take.",
    "timed_out_elsewhere": (
        "With that account's settings, `sora-pipeline retry` asks for it once more before anything is paid again."
    ),
    "terminated": (
        "`sora-pipeline retry --production {production} --clip {clip}` has it submitted after all, and so does materializing it in "
        "the Dagster UI."
    ),
    "runs_ended": "Look at their logs, then `sora-pipeline retry`.",
    "file_lost": (
        "`sora-pipeline retry --production {production} --clip {clip}` fetches one again, for nothing, while the provider has it."
    ),
    # A ledger that is rebuilt, an output that is taken over.
    "nothing_remembered": "Look at DAGSTER_HOME, or name the folder of the videos with --output.",
    "holds_nothing": _WHEN_MADE,
    "left_out": "To have it rebuilt here all the same, name it with --output.",
    "unnamed": "Say with --name how it is to be called.",
    "reading_lost": "Run that again with --name {production}, which pays for nothing of it again.",
    "snapshot_lost": "`sora-pipeline run` of that manifest writes it again.",
    "amendment_lost": (
        "Hand that file in again (`sora-pipeline run`) before the production's own manifest, or what that says is made instead."
    ),
    "adopted_already": "`sora-pipeline run MANIFEST --name {production}` goes on with it.",
    "name_taken": "Take this one over under another name: `sora-pipeline adopt {output} --name OTHER`.",
}


def explained(problem: Exception | Reason) -> str:
    """The text of an error or a reason, and what to do about it."""
    text = problem.sentence if isinstance(problem, Reason) else str(problem)
    if not isinstance(problem, SoraPipelineError | Reason) or problem.code not in ADVICE:
        return text
    facts = {name: shlex.quote(fact) if name in _PLACES else fact for name, fact in problem.facts.items()}
    return f"{ended(text)} {ADVICE[problem.code].format_map(facts)}"


def ended(text: str) -> str:
    """A text that another sentence follows: with one mark at its end."""
    bare = text.rstrip(". ")
    return bare if bare.endswith("?") else f"{bare}."
