"""Build these pages with Sphinx: `make docs`. Warnings are errors, and nothing is fetched."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from write_reference import write_reference

project = "vggnet"
extensions = ["myst_parser"]
exclude_patterns = ["*.py"]
root_doc = "index"
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
smartquotes = False  # it makes dashes of -- in flags
html_theme = "furo"
html_title = "vggnet"
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
suppress_warnings = ["misc.highlighting_failure"]  # printed tables in code blocks are no code
write_reference(Path(__file__).parent / "reference")
