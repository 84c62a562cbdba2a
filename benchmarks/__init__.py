"""Measurements against other ways of doing the same; ``make bench`` runs them."""
