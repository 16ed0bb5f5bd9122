"""Modules joined in a common spectral basis, tuned by their eigenvalues, composed at run time."""

from hyperspectral_geo.merging import methods
from hyperspectral_geo.merging.ablation import Ablation, ablation
from hyperspectral_geo.merging.adamerging import adamerging
from hyperspectral_geo.merging.adapter import load_adapter
from hyperspectral_geo.merging.apply import applied, changed_parameters
from hyperspectral_geo.merging.attribution import Attribution, Direction, Part, WeightAttribution, attribution
from hyperspectral_geo.merging.calibrate import Calibration, Course, calibrate
from hyperspectral_geo.merging.checkpoint import Checkpoint
from hyperspectral_geo.merging.compose import Composition
from hyperspectral_geo.merging.concepts import ConceptSpace, merge_concepts
from hyperspectral_geo.merging.convert import convert
from hyperspectral_geo.merging.core import Joint, join
from hyperspectral_geo.merging.delta import Delta, Dense, LowRank
from hyperspectral_geo.merging.eigenlorax import EigenLoadings, FactorSubspace, eigen_subspaces
from hyperspectral_geo.merging.extract import extract_lora
from hyperspectral_geo.merging.fisher import diagonal_fisher
from hyperspectral_geo.merging.format_error import ModuleFormatError
from hyperspectral_geo.merging.frequency import merge_frequencies, merge_latents
from hyperspectral_geo.merging.grams import activation_grams
from hyperspectral_geo.merging.inspection import Inspection, inspect_module
from hyperspectral_geo.merging.layerwise import LayerwiseCalibration, calibrate_layerwise
from hyperspectral_geo.merging.load_checkpoint import load_checkpoint
from hyperspectral_geo.merging.merge import LayerRule, merge
from hyperspectral_geo.merging.merged_checkpoint import write_checkpoint
from hyperspectral_geo.merging.module import Layout, Module
from hyperspectral_geo.merging.objectives import Matched, ModuleMatching, entropy, labelled
from hyperspectral_geo.merging.recipe import Recipe, read_recipe
from hyperspectral_geo.merging.regmean_plus_plus import regmean_plus_plus
from hyperspectral_geo.merging.relations import Relation, mean_angles, relate
from hyperspectral_geo.merging.reweight import Fold, reweight
from hyperspectral_geo.merging.saved import Saved
from hyperspectral_geo.merging.spectrum import Spectrum, spectra

__all__ = [
    "Module",
    "load_adapter",
    "load_checkpoint",
    "merge",
    "methods",
    "LayerRule",
    "Checkpoint",
    "write_checkpoint",
    "extract_lora",
    "convert",
    "Saved",
    "ModuleFormatError",
    "calibrate",
    "Calibration",
    "Course",
    "ModuleMatching",
    "Matched",
    "labelled",
    "entropy",
    "calibrate_layerwise",
    "LayerwiseCalibration",
    "adamerging",
    "Spectrum",
    "spectra",
    "Composition",
    "attribution",
    "Attribution",
    "WeightAttribution",
    "Direction",
    "Part",
    "ablation",
    "Ablation",
    "relate",
    "Relation",
    "mean_angles",
    "inspect_module",
    "Inspection",
    "read_recipe",
    "Recipe",
    "activation_grams",
    "diagonal_fisher",
    "regmean_plus_plus",
    "applied",
    "changed_parameters",
    "Delta",
    "LowRank",
    "Dense",
    "Layout",
    "Joint",
    "join",
    "ConceptSpace",
    "merge_concepts",
    "Fold",
    "reweight",
    "eigen_subspaces",
    "FactorSubspace",
    "EigenLoadings",
    "merge_latents",
    "merge_frequencies",
]
