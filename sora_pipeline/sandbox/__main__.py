"""``python -m sora_pipeline.sandbox``: serve with the settings in the environment, ``SORA_SANDBOX_<NAME>``."""

from sora_pipeline.sandbox.server import serve
from sora_pipeline.sandbox.settings import SandboxSettings

if __name__ == "__main__":
    serve(SandboxSettings.from_environment())
