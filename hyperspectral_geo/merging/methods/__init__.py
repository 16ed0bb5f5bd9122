"""Merging methods, one a file; ``METHODS`` names them for ``merge``."""

from hyperspectral_geo.merging.methods.cat import cat
from hyperspectral_geo.merging.methods.compress import compress, prepare_compress
from hyperspectral_geo.merging.methods.dare import dare
from hyperspectral_geo.merging.methods.della import della
from hyperspectral_geo.merging.methods.fisher import fisher
from hyperspectral_geo.merging.methods.grassmann import grassmann
from hyperspectral_geo.merging.methods.iso_c import iso_c
from hyperspectral_geo.merging.methods.iso_cts import iso_cts
from hyperspectral_geo.merging.methods.knots import knots_dare, knots_ties, prepare_knots_ties
from hyperspectral_geo.merging.methods.larv import larv, prepare_larv
from hyperspectral_geo.merging.methods.linear import linear
from hyperspectral_geo.merging.methods.method import Method
from hyperspectral_geo.merging.methods.model_stock import model_stock
from hyperspectral_geo.merging.methods.regmean import regmean
from hyperspectral_geo.merging.methods.slerp import slerp
from hyperspectral_geo.merging.methods.svc import svc
from hyperspectral_geo.merging.methods.svd import svd
from hyperspectral_geo.merging.methods.tempered import tempered
from hyperspectral_geo.merging.methods.ties import prepare_ties, ties
from hyperspectral_geo.merging.methods.tsv import tsv
from hyperspectral_geo.merging.methods.wudi import wudi

__all__ = [
    "METHODS",
    "Method",
    "linear",
    "cat",
    "svd",
    "ties",
    "dare",
    "della",
    "knots_ties",
    "knots_dare",
    "tsv",
    "iso_c",
    "iso_cts",
    "tempered",
    "svc",
    "larv",
    "wudi",
    "regmean",
    "fisher",
    "model_stock",
    "slerp",
    "grassmann",
    "compress",
]

_PREPARED = ("thresholds", "frames")

METHODS: dict[str, Method] = {
    "linear": Method(linear),
    "cat": Method(cat),
    "svd": Method(svd),
    "ties": Method(ties, prepare_ties, keeps_single=False, vectors="mean", prepared=_PREPARED),
    "dare": Method(dare, keeps_single=False),
    "della": Method(della, keeps_single=False, vectors="mean"),
    "knots_ties": Method(knots_ties, prepare_knots_ties, keeps_single=False, vectors="mean", prepared=_PREPARED),
    "knots_dare": Method(knots_dare, keeps_single=False, vectors="mean"),
    "tsv": Method(tsv, vectors="mean"),
    "iso_c": Method(iso_c, keeps_single=False, vectors="mean"),
    "iso_cts": Method(iso_cts, keeps_single=False, vectors="mean"),
    "tempered": Method(tempered, vectors="mean"),
    "svc": Method(svc),
    "larv": Method(larv, prepare_larv, keeps_single=False, prepared=("layer_scales",)),
    "wudi": Method(wudi),
    "regmean": Method(regmean, vectors="mean"),
    "fisher": Method(fisher, vectors="mean"),
    "model_stock": Method(model_stock, vectors="mean"),
    "slerp": Method(slerp, vectors="proportion"),
    "grassmann": Method(grassmann),
    "compress": Method(compress, prepare_compress, keeps_single=False, vectors="mean"),
}
"""The methods by name, in the order of the documentation."""
