"""The geometry: Grassmann, Stiefel and Lorentz manifolds, principal angles, distances and means of subspaces."""

from hyperspectral_geo.manifolds.angles import principal_angles, subspace_distance
from hyperspectral_geo.manifolds.flag import flag_mean
from hyperspectral_geo.manifolds.geodesics import grassmann_exp, grassmann_log, grassmann_transport
from hyperspectral_geo.manifolds.grassmann import Grassmann
from hyperspectral_geo.manifolds.lorentz import Lorentz
from hyperspectral_geo.manifolds.means import MeanReport, frechet_mean, geometric_median
from hyperspectral_geo.manifolds.stiefel import Stiefel

__all__ = [
    "Grassmann",
    "Lorentz",
    "MeanReport",
    "Stiefel",
    "flag_mean",
    "frechet_mean",
    "geometric_median",
    "grassmann_exp",
    "grassmann_log",
    "grassmann_transport",
    "principal_angles",
    "subspace_distance",
]
