"""The work itself: submitting, polling, collecting and publishing clips, over the rooms below. Knows no Dagster."""
