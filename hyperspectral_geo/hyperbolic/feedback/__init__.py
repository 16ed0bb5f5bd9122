"""People's input: statements on concepts, as a prior of training and as answers that adjust a trained model."""

from hyperspectral_geo.hyperbolic.feedback.changes import Changes
from hyperspectral_geo.hyperbolic.feedback.constraint import (
    AboutHops,
    Closer,
    Constraint,
    Farther,
    Group,
    Link,
    Nearer,
    Pin,
    constraint_of,
)
from hyperspectral_geo.hyperbolic.feedback.constraint_file import read_constraints, write_constraints
from hyperspectral_geo.hyperbolic.feedback.constraint_loss import ConstraintLoss
from hyperspectral_geo.hyperbolic.feedback.contradictions import Contradiction, contradictions
from hyperspectral_geo.hyperbolic.feedback.cycle import FeedbackCycle
from hyperspectral_geo.hyperbolic.feedback.journal import Journal
from hyperspectral_geo.hyperbolic.feedback.questions import Question, hop_spread, questions
from hyperspectral_geo.hyperbolic.feedback.refine import FeedbackResult, apply_feedback
from hyperspectral_geo.hyperbolic.feedback.reweighting import reweighted

__all__ = [
    "Constraint",
    "Closer",
    "Farther",
    "AboutHops",
    "Nearer",
    "Group",
    "Pin",
    "Link",
    "constraint_of",
    "read_constraints",
    "write_constraints",
    "Contradiction",
    "contradictions",
    "ConstraintLoss",
    "reweighted",
    "FeedbackCycle",
    "Journal",
    "FeedbackResult",
    "Changes",
    "apply_feedback",
    "Question",
    "questions",
    "hop_spread",
]
