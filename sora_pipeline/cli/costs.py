"""``sora-pipeline costs``: where the money went."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sora_pipeline.amounts import counted, currency
from sora_pipeline.cli import tables
from sora_pipeline.cli.money import tell_of_pretended
from sora_pipeline.cli.output import AS_JSON, console, note, print_json
from sora_pipeline.cli.productions import PRODUCTION, selected
from sora_pipeline.manifest.columns import alike
from sora_pipeline.suggestions import did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    from rich.text import Text

GROUPS = ("day", "model", "provider", "account", "production")


def costs(
    by: list[str] = typer.Option(
        ["day", "model"],
        "--by",
        metavar="WHAT",
        help="day (UTC), model, provider, account, production, or a column of your manifests (campaign, for one); may be "
        "given more than once.",
    ),
    production: list[str] = PRODUCTION,
    csv: Path | None = typer.Option(
        None, "--csv", metavar="FILE", help="Write the table to this file, for a spreadsheet."
    ),
    as_json: bool = AS_JSON,
) -> None:
    """Sum up what was billed: every submit that was accepted, or may have been. Asks the ledger only."""
    from sora_pipeline.cli.opening import open_ledger
    from sora_pipeline.production.cost_table import cost_table

    ledger, _, _ = open_ledger()
    productions = [chosen.production_id for chosen in selected(ledger, production)]
    carried: list[str] = []
    if any(name not in GROUPS for name in by):
        carried = ledger.clips.carried_columns(productions)
    by = list(dict.fromkeys(by))
    # Productions may write one column in several ways, and all of it is one sum.
    spellings = {name: alike(name, carried) for name in by if name not in GROUPS}
    table = cost_table(ledger, by, productions, spellings)
    for name, column in zip(by, table.columns, strict=False):
        if productions and name not in GROUPS and not spellings[name] and not any(table[column]):
            _refuse_unknown(name, carried)
    real, simulated = (
        table[table.simulated == made_up].drop(columns="simulated") for made_up in (False, True)
    )
    if csv is not None:
        _write(table, by, csv)
    if as_json:
        print_json(
            {
                "by": by,
                "lines": real.to_dict("records"),
                "spent_usd": _total(real),
                "simulated_lines": simulated.to_dict("records"),
                "simulated_usd": _total(simulated),
            }
        )
        return
    if table.empty:
        console.print("nothing was billed so far")
    for lines, pretended in ((real, False), (simulated, True)):
        if not lines.empty:
            console.print(_shown(by, lines, currency(simulated=pretended)))
    tell_of_pretended(simulated=not simulated.empty)


def _refuse_unknown(name: str, carried: list[str]) -> None:
    """Refuse what is no column of any manifest."""
    guess = did_you_mean(name, [*GROUPS, *carried])
    raise typer.BadParameter(
        f"no manifest has a column {name!r}.{guess} There are {', '.join([*GROUPS, *carried])}",
        param_hint="--by",
    )


def _write(table: "pd.DataFrame", by: list[str], csv: Path) -> None:
    from sora_pipeline.manifest.formulas import harmless
    from sora_pipeline.production.cost_table import SUMS

    keys = [(harmless(name), table[name].map(harmless)) for name in table.columns[: len(by)]]
    try:
        with csv.open("w", encoding="utf-8-sig", newline="") as file:
            table.assign(**dict(keys))[[name for name, _ in keys] + list(SUMS)].to_csv(
                file,
                index=False,
                lineterminator="\r\n",  # else a carriage return in a cell is not quoted, and begins a line
            )
    except OSError as error:
        raise typer.BadParameter(
            f"{csv} cannot be written: {_why_not_written(csv, error)}. Name a file in a folder that is there and that you may write to",
            param_hint="--csv",
        ) from None
    note(f"{counted(len(table), 'line')} written to {csv}")


def _why_not_written(csv: Path, error: OSError) -> str:
    match error:
        case FileNotFoundError() | NotADirectoryError() if not csv.absolute().parent.is_dir():
            return f"there is no folder {csv.absolute().parent}"
        case IsADirectoryError():
            return "it is a folder"
        case PermissionError():
            return "this user may not"
    return error.strerror or str(error)


def _total(lines: "pd.DataFrame") -> float:
    return round(float(lines.spent_usd.sum()), 4)


def _shown(by: "list[str]", lines: "pd.DataFrame", unit: str) -> "Text":
    rows = [
        [*(key or "(none)" for key in keys), str(clips), str(attempts), str(delivered), f"{spent_usd:.2f}"]
        for *keys, clips, attempts, delivered, spent_usd in lines.itertuples(index=False, name=None)
    ]
    sums = ["", str(lines.attempts.sum()), str(lines.delivered.sum()), f"{_total(lines):.2f}"]
    header = [*lines.columns[: len(by)], "clips", "attempts", "delivered", unit]
    totals = ["in all", *[""] * (len(by) - 1), *sums]
    return tables.table(header, [*rows, totals], numbers=range(len(by), len(header)), width=console.room)
