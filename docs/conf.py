"""How Sphinx makes the site; ``make docs`` builds it."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from pygments.lexers.shell import BashLexer  # noqa: E402
from pygments.lexers.special import TextLexer  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

from docs_reference.pages import write_pages  # noqa: E402
from sora_pipeline import __version__  # noqa: E402

write_pages(DOCS / "reference")

project = "sora_pipeline"
author = "the authors of sora_pipeline"
copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
autodoc_preserve_defaults = True
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
smartquotes = False  # makes one dash of the two that an option begins with
napoleon_use_ivar = True
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"
suppress_warnings = ["myst.header"]

html_theme = "furo"
html_title = f"sora_pipeline {version}"
html_static_path = ["_static"]
html_css_files, html_js_files = ["site.css"], ["site.js"]
html_copy_source = False
html_show_sphinx = False


def setup(app: Sphinx) -> None:
    """CSV has no colours, but is no mistake; what people type has no prompt before it, and is not what a program says."""
    app.add_lexer("csv", TextLexer)
    app.add_lexer("console", BashLexer)
