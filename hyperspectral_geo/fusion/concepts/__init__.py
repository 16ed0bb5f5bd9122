"""Concepts as modules: a mean, a basis and a spectrum each, learned apart, composed, compared, and used to classify."""
