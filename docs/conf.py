"""How Sphinx builds the documentation: Markdown by MyST, the theme furo, and pages made from the code first."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import agentsim  # noqa: E402
from scenarios.documentation import generate  # noqa: E402

generate(HERE)

project = "agentsim"
author = "agentsim contributors"
copyright = author
release = version = agentsim.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "experiments"]
myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3
smartquotes = False
default_role = "code"  # docstrings write code between single backticks
suppress_warnings = ["ref.python"]  # `type` in a signature is also the name of two fields

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"agentsim {release}"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_static_path = ["static"]
html_css_files = ["docs.css"]
