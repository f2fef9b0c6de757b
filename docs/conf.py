"""Sphinx: sphinx-build docs docs/_build."""

from importlib.metadata import version as installed_version

project = "layerwise"
author = "The layerwise authors"
copyright = "The layerwise authors"
version = release = installed_version("layerwise")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"

html_theme = "furo"
html_title = "layerwise"
