"""Makes the sandbox's videos: real H.264 and AAC, drawn from prompt and image, in worker processes."""
