"""What people are told through a webhook: of productions that have settled and of runs that failed. Knows no Dagster."""
