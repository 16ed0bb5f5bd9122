"""How Sphinx builds the documentation: furo, Markdown pages, docstrings, and a gallery of the runnable examples."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

from hyperspectral_geo import __version__

project = "hyperspectral_geo"
author = "hyperspectral_geo authors"
copyright = author
version = release = __version__

# No intersphinx: the build asks no network.
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Names in docstrings are code, not cross-references that must resolve.
default_role = "code"

html_theme = "furo"
html_title = f"hyperspectral_geo {release}"
html_static_path = ["_static"]

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
}


def _escape_bars(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Let a formula such as |x| stand in a docstring, where reStructuredText would see a substitution."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...", "|")):
            parts = re.split(r"(``.+?``|`.+?`)", line)
            lines[i] = "".join(part if part.startswith("`") else part.replace("|", r"\|") for part in parts)


def setup(app: Sphinx) -> None:
    """Sphinx calls this once."""
    app.connect("autodoc-process-docstring", _escape_bars)
