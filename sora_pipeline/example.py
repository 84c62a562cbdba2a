"""The example manifest and its images, as the package brings them (in the repository: ``data/``)."""

from pathlib import Path

from sora_pipeline.errors import SoraPipelineError

MANIFEST = "manifest.csv"
_PACKAGED = Path(__file__).parent / "example"
_IN_THE_REPOSITORY = Path(__file__).parents[1] / "data"


class ExampleError(SoraPipelineError):
    """Raised where the example cannot be written without touching what is somebody's own."""


def example_files() -> dict[str, bytes]:
    """The manifest and the images that it names, by their paths relative to it."""
    folder = _PACKAGED if _PACKAGED.is_dir() else _IN_THE_REPOSITORY
    paths = [folder / MANIFEST, *sorted((folder / "images").iterdir())]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def write_example(folder: Path, beside: frozenset[str] = frozenset()) -> Path:
    """Write manifest and images into a folder; where they are there already, nothing changes.

    Args:
        folder: Made where it is not there.
        beside: Names of what else may be in it.

    Returns:
        The manifest.

    Raises:
        ExampleError: the folder holds anything else, or cannot be written to.
    """
    files = example_files()
    try:
        if folder.exists() and not folder.is_dir():
            raise ExampleError(f"{folder} is a file; name another folder")
        if strange := _strange(folder, files, beside):
            raise ExampleError(
                f"{folder} holds {strange[0]}, which is not of the example, and nothing of yours is written over; name "
                "another folder"
            )
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    except OSError as error:
        raise ExampleError(f"{folder} cannot be written to: {error.strerror}") from None
    return folder / MANIFEST


def _strange(folder: Path, files: dict[str, bytes], beside: frozenset[str]) -> list[str]:
    """What is in the folder and is neither the example's nor may be there; a file that was changed is somebody's own."""
    inside = [path for path in folder.rglob("*") if path.relative_to(folder).parts[0] not in beside]
    names = {path.relative_to(folder).as_posix(): path for path in inside if not path.is_dir()}
    return sorted(name for name, path in names.items() if files.get(name) != path.read_bytes())
