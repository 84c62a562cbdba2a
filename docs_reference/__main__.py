"""``python -m docs_reference FOLDER`` writes the pages into a folder."""

import sys
from pathlib import Path

from docs_reference.pages import write_pages

write_pages(Path(sys.argv[1]))
