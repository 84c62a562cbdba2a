"""The second pipeline of these tests: built in code, at a provider account of its own, in the ledger of the first one."""

import os

import dagster as dg

from sora_pipeline.pipeline import VideoPipeline

BUILT_IN, ACME = "", "acme"
"""The pipelines; the built-in one has its settings from the environment."""
SANDBOX = "sandbox"
"""The account of the built-in one; the second one's is called as the pipeline is."""
ACCOUNTS = {BUILT_IN: SANDBOX, ACME: ACME}
URL, KEY = "ACME_URL", "ACME_KEY"


def pipeline_of(name: str) -> VideoPipeline:
    """A pipeline of these tests; what is not said here is as the environment says."""
    if name == BUILT_IN:
        return VideoPipeline()
    return VideoPipeline(ACME, account=ACME, base_url=os.environ[URL], api_key=dg.EnvVar(KEY))
