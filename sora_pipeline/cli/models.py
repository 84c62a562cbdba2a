"""``sora-pipeline models``: what can be made, where, and for how much."""

from sora_pipeline.cli.output import AS_JSON, console, print_json
from sora_pipeline.cli.tables import table


def models(
    as_json: bool = AS_JSON,
) -> None:
    """List the installed providers and the models of the catalogue: durations, sizes and prices."""
    from sora_pipeline.provider.catalogue import load_catalogue
    from sora_pipeline.provider.registry import installed
    from sora_pipeline.settings import Settings

    catalogue = load_catalogue(Settings.from_env().catalogue)
    known = [catalogue.model(name) for name in catalogue.names]
    if as_json:
        print_json(
            {
                "providers": [
                    {"name": name, "problem": catalogue.problems.get(name)} for name in installed()
                ],
                "models": [
                    {
                        "name": model.name,
                        "vendor": model.vendor,
                        "formats": list(model.formats),
                        "durations": list(model.durations),
                        "usd_per_second": {
                            str(size): float(price) for size, price in model.usd_per_second.items()
                        },
                        "max_prompt_chars": model.max_prompt_chars,
                        "parameters": {
                            name: parameter.allowed for name, parameter in model.parameters.items()
                        },
                        "expected_render_s": model.expected_render_s,
                    }
                    for model in known
                ],
            }
        )
        return
    header = ("model", "providers", "seconds", "sizes and USD a second", "parameters")
    rows = []
    for model in known:
        prices = ", ".join(f"{size} {model.usd_per_second[size]}" for size in model.sizes)
        durations = ", ".join(str(seconds) for seconds in model.durations)
        rows.append((model.name, ", ".join(model.formats), durations, prices, ", ".join(model.parameters)))
    console.print(table(header, rows, width=console.room))
    console.print(f"installed providers: {', '.join(installed())}", style="dim")
    for problem in catalogue.problems.values():
        console.print(problem, style="yellow")
    console.print("more models, or other prices: a TOML file named by SORA_CATALOGUE", style="dim")
