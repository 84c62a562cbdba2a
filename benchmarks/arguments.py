"""The command line that every contender but this project takes: ``MANIFEST OUTPUT --url URL --in-flight N``."""

import argparse
from pathlib import Path


class Arguments(argparse.Namespace):
    """What a contender is told.

    Attributes:
        manifest: The CSV manifest.
        output: Where the videos go; it exists.
        url: The provider's address.
        in_flight: Clips that may render at once.
        prepare: Whether only to make what is not to be measured.
    """

    manifest: Path
    output: Path
    url: str
    in_flight: int
    prepare: bool


def read_arguments() -> Arguments:
    """The arguments of this program; makes the output folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("manifest", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--url", required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--prepare", action="store_true")
    arguments = parser.parse_args(namespace=Arguments())
    arguments.output.mkdir(parents=True, exist_ok=True)
    return arguments
