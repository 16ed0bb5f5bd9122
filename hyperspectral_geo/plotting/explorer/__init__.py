"""The explorer: one HTML file that shows a model of hops as a map, and takes down what people say of it."""

from hyperspectral_geo.plotting.explorer.atlas import Atlas, Nearest
from hyperspectral_geo.plotting.explorer.page import explorer_page, write_explorer

__all__ = ["Atlas", "Nearest", "explorer_page", "write_explorer"]
