"""First frames in, finished videos checked, posters made: everything that looks at pixels.

Knows files and bytes; refuses to know manifests, providers, the ledger and Dagster. Every function is synchronous and
thread-safe: async callers use ``decoders.in_decoder`` for videos, ``asyncio.to_thread`` for the rest.
"""
