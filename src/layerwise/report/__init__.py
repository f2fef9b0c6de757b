"""The report as one HTML page: drawn from `Explanation.to_dict` (or `report.json`, which holds the same) and nothing else.

It computes nothing but where ink goes. `charts` makes SVG, `pictures` PNG, `page` puts both into the templates.
"""

from layerwise.report.output import check_out, write
from layerwise.report.page import render

__all__ = ["check_out", "render", "write"]
