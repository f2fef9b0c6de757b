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

# What scikit-learn writes on every estimator for its metadata routing, and refers to its own glossary.
ROUTING = ",".join(f"set_{method}_request" for method in ("fit", "partial_fit", "predict", "transform", "score"))
autodoc_default_options = {"members": True, "show-inheritance": True, "exclude-members": ROUTING}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"

html_theme = "furo"
html_title = "layerwise"
