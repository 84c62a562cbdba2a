"""``sora-pipeline costs``: where the money went."""

import typer
from rich.table import Table

from sora_pipeline.cli.output import console, plain, print_json


def costs(
    by: list[str] = typer.Option(
        ["day", "model"],
        "--by",
        metavar="WHAT",
        help="day (UTC), model, provider, production, or a column of your manifests (campaign, for one); may be given often.",
    ),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
) -> None:
    """Sum up what was billed: every submit that was accepted, or may have been. Asks the ledger only."""
    from sora_pipeline.headless.home import prepare_home
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.settings import Settings, ledger_url

    settings = Settings.from_env()
    ledger = Ledger(ledger_url(settings, prepare_home()))
    by = list(dict.fromkeys(by))
    lines = ledger.money.report(by)
    total = sum(float(line.spent_usd) for line in lines)
    if as_json:
        rows = [
            {
                **dict(zip(by, line.keys, strict=True)),
                "clips": line.clips,
                "attempts": line.attempts,
                "delivered": line.delivered,
                "spent_usd": float(line.spent_usd),
            }
            for line in lines
        ]
        print_json({"by": by, "lines": rows, "spent_usd": round(total, 4)})
        return
    if not lines:
        console.print("nothing was billed so far")
        return
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=True)
    for name in by:
        table.add_column(plain(name), footer="")
    table.add_column("clips", justify="right")
    table.add_column("billed", justify="right", footer=str(sum(line.attempts for line in lines)))
    table.add_column("delivered", justify="right", footer=str(sum(line.delivered for line in lines)))
    table.add_column("USD", justify="right", footer=f"{total:.2f}")
    for line in lines:
        numbers = (line.clips, line.attempts, line.delivered)
        table.add_row(
            *(plain(key) or "(none)" for key in line.keys), *map(str, numbers), f"{line.spent_usd:.2f}"
        )
    console.print(table)
