"""Recognises what was paid for by the fingerprints that every version of the program wrote."""

from dataclasses import replace

from sora_pipeline.clip import Clip
from sora_pipeline.ledger.migrations.earlier_fingerprints import fingerprint_0002
from sora_pipeline.ledger.rows import spec_of

EARLIER_PROVIDERS = ("sandbox", "gptproto", "gptproto-unified", "openai-videos")
"""All wire formats that there were while they were part of a fingerprint."""


def present_fingerprints(clip: Clip) -> dict[str, str]:
    """By each fingerprint that any version wrote for what this clip asks for: the one that this version writes.

    Made by an emulator and made for real are two things, whatever the clip itself asks for.
    """
    by_maker = {simulated: replace(clip, simulated=simulated).fingerprint for simulated in (True, False)}
    present = {fingerprint: fingerprint for fingerprint in by_maker.values()}
    if clip.parameters:  # no earlier version sent any
        return present
    spec = spec_of(clip)
    for provider in EARLIER_PROVIDERS:
        present[fingerprint_0002(spec, provider)] = by_maker[provider == "sandbox"]
    return present
