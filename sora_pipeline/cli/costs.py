"""``sora-pipeline costs``: where the money went."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sora_pipeline.cli.output import console, note, print_json
from sora_pipeline.cli.productions import PRODUCTION, selected

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


def costs(
    by: list[str] = typer.Option(
        ["day", "model"],
        "--by",
        metavar="WHAT",
        help="day (UTC), model, provider, account, production, or a column of your manifests (campaign, for one); may be "
        "given often.",
    ),
    production: list[str] = PRODUCTION,
    csv: Path | None = typer.Option(
        None, "--csv", metavar="FILE", help="Write the table to this file, for a spreadsheet."
    ),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
) -> None:
    """Sum up what was billed: every submit that was accepted, or may have been. Asks the ledger only."""
    from sora_pipeline.cli.opening import open_ledger
    from sora_pipeline.production.cost_table import cost_table

    ledger, _, _ = open_ledger()
    by = list(dict.fromkeys(by))
    table = cost_table(ledger, by, [chosen.production_id for chosen in selected(ledger, production)])
    for name, column in zip(by, table.columns, strict=False):
        if not table.empty and not any(table[column]):
            note(
                f"no clip that was billed has anything in a column {name!r}; --by takes the names of the manifests' columns"
            )
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
    for lines, unit in ((real, "USD"), (simulated, "sandbox USD")):
        if not lines.empty:
            console.print(_shown(by, lines, unit))


def _write(table: "pd.DataFrame", by: list[str], csv: Path) -> None:
    from sora_pipeline.manifest.formulas import harmless
    from sora_pipeline.production.cost_table import SUMS

    keys = [(harmless(name), table[name].map(harmless)) for name in table.columns[: len(by)]]
    try:
        table.assign(**dict(keys))[[name for name, _ in keys] + list(SUMS)].to_csv(
            csv,
            index=False,
            encoding="utf-8-sig",
            lineterminator="\r\n",  # else a carriage return in a cell is not quoted, and begins a line
        )
    except OSError as error:
        raise typer.BadParameter(
            f"{csv} cannot be written: {error.strerror or error}. Name a file in a folder that is there",
            param_hint="--csv",
        ) from None


def _total(lines: "pd.DataFrame") -> float:
    return round(float(lines.spent_usd.sum()), 4)


def _shown(by: "list[str]", lines: "pd.DataFrame", unit: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=True)
    for name in lines.columns[: len(by)]:
        table.add_column(name, footer="")
    table.add_column("clips", justify="right")
    table.add_column("billed", justify="right", footer=str(lines.attempts.sum()))
    table.add_column("delivered", justify="right", footer=str(lines.delivered.sum()))
    table.add_column(unit, justify="right", footer=f"{_total(lines):.2f}")
    for *keys, clips, attempts, delivered, spent_usd in lines.itertuples(index=False, name=None):
        numbers = map(str, (clips, attempts, delivered))
        table.add_row(*(key or "(none)" for key in keys), *numbers, f"{spent_usd:.2f}")
    return table
