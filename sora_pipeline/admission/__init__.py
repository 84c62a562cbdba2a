"""Whether a clip may be submitted now: budgets, breakers, and the words for why not. Knows no Dagster."""
