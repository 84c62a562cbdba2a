"""Metrics for Prometheus: what the ledger and Dagster say at the moment they are asked. Nothing is counted in any process."""
