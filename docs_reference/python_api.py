"""What Python code may import, described by the code's own docstrings."""

INTRODUCTION = """# Python

What is named here is what other code may rely on ([versions](../versioning.md)); everything else below `sora_pipeline` may change at any time.
"""
SECTIONS = {
    "Pipelines": [
        ("autoclass", "sora_pipeline.VideoPipeline", "members"),
        ("autoclass", "sora_pipeline.Settings", "members from_env"),
        ("autoexception", "sora_pipeline.errors.SoraPipelineError", ""),
        ("autoexception", "sora_pipeline.settings.SettingsError", ""),
        ("autoexception", "sora_pipeline.names.PipelineError", ""),
    ],
    "What a pipeline has made": [
        ("autoclass", "sora_pipeline.production.delivered.DeliveredProduction", "members"),
        ("autoclass", "sora_pipeline.video.StoredVideo", "members"),
        ("autoclass", "sora_pipeline.video.VideoFacts", ""),
    ],
    "Providers": [
        ("autoclass", "sora_pipeline.provider.spec.ProviderSpec", ""),
        ("autoclass", "sora_pipeline.provider.protocol.Provider", "members"),
        ("autoclass", "sora_pipeline.provider.protocol.SubmitRequest", ""),
        ("autoclass", "sora_pipeline.provider.protocol.InputImage", ""),
        ("autoclass", "sora_pipeline.provider.protocol.Accepted", ""),
        ("autoclass", "sora_pipeline.provider.protocol.Prediction", ""),
        ("autoclass", "sora_pipeline.provider.protocol.KeyCheck", ""),
        ("autoclass", "sora_pipeline.provider.config.ProviderConfig", ""),
    ],
    "What a provider raises": [("automodule", "sora_pipeline.provider.errors", "members")],
    "The conformance kit": [("automodule", "sora_pipeline.provider.conformance", "")],
}


def page() -> str:
    """The page: Sphinx fills it in from the docstrings."""
    sections = [f"\n## {title}\n\n{_directives(entries)}" for title, entries in SECTIONS.items()]
    return INTRODUCTION + "".join(sections)


def _directives(entries: list[tuple[str, str, str]]) -> str:
    lines = ["```{eval-rst}"]
    for directive, name, option in entries:
        first, _, rest = option.partition(" ")
        lines += [f".. {directive}:: {name}", *([f"   :{first}: {rest}".rstrip()] if option else []), ""]
    return "\n".join([*lines, "```", ""])
