"""Which pages there are, in the order of the site."""

from pathlib import Path

from docs_reference import cli, columns, component, errors, json_output, metadata, python_api, settings

PAGES = {
    "cli": cli.page,
    "settings": settings.page,
    "columns": columns.page,
    "python": python_api.page,
    "component": component.page,
    "metadata": metadata.page,
    "errors": errors.page,
    "json": json_output.page,
}


def write_pages(folder: Path) -> None:
    """Write them; a file that would not change is left alone, so that the site is not built anew for it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        path, text = folder / f"{name}.md", page()
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
