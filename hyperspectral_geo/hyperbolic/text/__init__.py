"""Free text among concepts: pages that a hop model has not seen, placed by what their texts say."""

from hyperspectral_geo.hyperbolic.text.encoder import TextHopEncoder
from hyperspectral_geo.hyperbolic.text.familiar_words import FamiliarWords
from hyperspectral_geo.hyperbolic.text.fold_in import fold_in
from hyperspectral_geo.hyperbolic.text.link_network import LinkNetwork
from hyperspectral_geo.hyperbolic.text.mentions import TitleIndex
from hyperspectral_geo.hyperbolic.text.placement import Placement
from hyperspectral_geo.hyperbolic.text.sentence_encoder import SentenceEncoder
from hyperspectral_geo.hyperbolic.text.soft_links import SoftLinks
from hyperspectral_geo.hyperbolic.text.text_head import TextHead
from hyperspectral_geo.hyperbolic.text.text_links import TextLinks
from hyperspectral_geo.hyperbolic.text.tfidf import Tfidf

__all__ = [
    "FamiliarWords",
    "LinkNetwork",
    "Placement",
    "SentenceEncoder",
    "SoftLinks",
    "TextHead",
    "TextHopEncoder",
    "TextLinks",
    "Tfidf",
    "TitleIndex",
    "fold_in",
]
