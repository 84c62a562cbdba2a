"""Every setting: its variable, what it may be, and what it is when nobody says."""

from typing import Any, get_args

from docs_reference.markdown import code, prose, table
from sora_pipeline.settings import API_KEY_VARIABLES, SECRET_FIELDS, Settings, variable

INTRODUCTION = """# Settings

Given in code (`Settings(budget_usd=50)`, `VideoPipeline("acme", budget_usd=50)`, an attribute of the Component), else by an
environment variable, else the default. What is `SORA_BUDGET_USD` in the environment is `budget_usd` in code. A bad value is an error that names the variable, and so is a variable `SORA_…` that is no
setting: a misspelt budget would be none.
"""
AFTER = """
`DAGSTER_HOME` (default `.sora` in the folder that a command is called from) is the folder of Dagster's storage, of the ledger and of the
sandbox's state. Another folder is another ledger, which knows nothing of what this one has paid for.

Secrets ({secrets}) are given as text, as `SecretStr` or as `dagster.EnvVar`; they are shown nowhere. {key}

The sandbox has settings of its own, `SORA_SANDBOX_…`: see [`sora-pipeline sandbox`](cli.md).
"""


def page() -> str:
    """The page."""
    secrets = ", ".join(code(name) for name in SECRET_FIELDS)
    key = f"The provider's key is read from {' or '.join(code(name) for name in API_KEY_VARIABLES)}."
    return f"{INTRODUCTION}\n{settings_table()}{AFTER.format(secrets=secrets, key=key)}"


def settings_table() -> str:
    """One row a setting."""
    rows = [_row(name, field) for name, field in Settings.model_fields.items()]
    return table(["variable", "default", "meaning"], rows)


def _row(name: str, field: Any) -> list[str]:
    default = field.get_default()
    shown = "" if default is None else code(default)
    return [code(variable(name)), shown, prose(field.description or "") + _may_be(field.annotation)]


def _may_be(annotation: Any) -> str:
    """The values of a choice; else nothing: the meaning says what is allowed."""
    values = [code(value) for value in get_args(annotation) if isinstance(value, str)]
    return f" One of {', '.join(values)}." if values else ""
