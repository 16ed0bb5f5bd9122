"""Merging methods, one a file; ``METHODS`` names them for ``merge``."""

from hyperspectral_geo.merging.methods.linear import linear
from hyperspectral_geo.merging.methods.method import Method

__all__ = ["METHODS", "Method", "linear"]

METHODS: dict[str, Method] = {
    "linear": Method(linear),
}
"""The methods by name, in the order of the documentation."""
