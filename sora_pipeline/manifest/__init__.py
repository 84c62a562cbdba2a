"""Rows in, rows out: a manifest of prompts becomes checked clips, and outcomes become the output manifest.

Knows neither Dagster nor providers, the ledger or media: limits and image checks come in as parameters.
"""
