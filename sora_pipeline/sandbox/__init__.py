"""The sandbox provider: a real HTTP server that behaves like the providers do, costs nothing and breaks on request.

It renders real MP4 files, keeps a bill of everything it accepted, and has a switch for every fault met in the wild.
It knows nothing of the pipeline: whatever speaks a provider's wire format can be tried against it.
"""
