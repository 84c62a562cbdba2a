"""Packages with providers, as far as an installation shows: a module and the metadata beside it."""

from pathlib import Path
from textwrap import dedent

SPEC = """
from pathlib import Path
from sora_pipeline.provider.spec import ProviderSpec

def make(config, catalogue):
    from sora_pipeline.provider.gptproto import GptProto
    return GptProto(config, catalogue)

"""

MODEL = """
[models.{name}]
vendor = "acme"
formats = ["acme"]
durations = [5]
max_prompt_chars = 500
expected_render_s = 60
usd_per_second = {{"1280x720" = 0.2}}
image = {{media_types = ["image/png"], max_bytes = 1000}}
"""


def install(folder: Path, package: str, name: str, code: str, *, before: str = SPEC) -> None:
    """Put a package that offers a provider into a folder of ``sys.path``.

    Args:
        folder: Where.
        package: The distribution's name; its module is named alike.
        name: The provider's name.
        code: What the module says after ``before``; its ``spec`` is what is offered.
        before: Imports, and a ``make`` that speaks GPTProto's format.
    """
    module = package.replace("-", "_")
    (folder / f"{module}.py").write_text(before + dedent(code))
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[sora_pipeline.providers]\n{name} = {module}:spec\n")
