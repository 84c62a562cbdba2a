"""The columns of a file to the columns that are meant; names that leave a doubt are refused, since doubts cost money."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from sora_pipeline.manifest.bounds import MAX_NAME_CHARS
from sora_pipeline.manifest.columns import INPUT_COLUMNS, OUTPUT_COLUMNS, PARAMETER_COLUMNS, bare, meant_by
from sora_pipeline.manifest.problems import ManifestError, either, shown
from sora_pipeline.suggestions import nearest

# Hugging Face's VideoFolder takes columns that end so for the names of files to load, and keeps the videos themselves in
# a column "video": one that is carried through would replace them, without a word (datasets 5.2).
_LOADED_ENDINGS = ("_file_name", "_file_names")
_LOADED_NAMES = ("video", "file_names")
_ASKED = (*INPUT_COLUMNS, *PARAMETER_COLUMNS)
_OTHER_WORDS = {
    "prompt": "text description caption prompttext",
    "clip_id": "id clip clipname videoid shotid sceneid identifier",
    "image": "img picture photo imageurl imagepath imagefile inputimage referenceimage inputreference firstframe startframe startimage",
    "duration": "seconds secs sec length len lengths lengthseconds durationsec durationseconds runtime cliplength videolength",
    "size": "aspect aspectratio ratio resolution dimensions orientation framesize videosize",
    "model": "modelname modelid videomodel aimodel engine",
    "takes": "variants variations versions copies samples n count numtakes numberoftakes",
    "negative_prompt": "negative negprompt negativetext",
    "seed": "randomseed noiseseed",
}
"""What people call them elsewhere; they may as well mean something of their own, so nothing is taken for it."""
_MEANT_BY_WORD = {word: column for column, words in _OTHER_WORDS.items() for word in words.split()}
_SLIPPED = ("length", "seconds", "resolution", "aspectratio")
"""Those that are long enough to be known with a slip in them."""


def understood_names(
    uri: str, names: tuple[str, ...], elsewhere: Callable[[], str] = lambda: ""
) -> Mapping[str, str]:
    """Those names that are written otherwise than the input columns that they mean, and these.

    Where the right name is there as well, another like it is a column of its own.

    Args:
        uri: The file.
        names: Of its columns.
        elsewhere: Says where they may be instead, where these have no prompt: a sentence, or nothing.

    Raises:
        ManifestError: two of them mean the same, or something else is wrong with a name.
    """
    _refuse_repeated(uri, [name for name in names if name])
    meant = {
        name: column
        for name in names
        if name not in _ASKED and (column := meant_by(name)) and column not in names
    }
    _refuse_same(uri, meant)
    present = tuple(meant.get(name, name) for name in names)
    if "prompt" not in present:
        raise ManifestError(uri, _no_prompt(names, elsewhere))
    for name in names:
        if name not in meant:
            _refuse_doubtful(uri, name, present)
    return meant


def lookalikes(names: Sequence[str]) -> dict[str, str]:
    """Columns that are carried through, and the input columns that they were probably meant to be: these are not there.

    Every clip would be made, and paid, without what is written there.
    """
    missing = {column: column for column in _ASKED if column not in names}
    missing |= {word: column for word in _SLIPPED if (column := _MEANT_BY_WORD[word]) in missing}
    return {
        name: meant
        for name in names
        if name not in _ASKED and (meant := _lookalike(name, missing)) is not None
    }


def _lookalike(name: str, missing: Mapping[str, str]) -> str | None:
    word = bare(name)
    meant = _MEANT_BY_WORD.get(word)
    if meant in missing.values():
        return meant
    return missing.get(nearest(word, missing, cutoff=0.82))


def _refuse_repeated(uri: str, names: list[str]) -> None:
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        reason = f"there is more than one column named {_listed(repeated)}. Rename or remove all but one."
        raise ManifestError(uri, reason)


def _refuse_same(uri: str, meant: Mapping[str, str]) -> None:
    for column, times in Counter(meant.values()).items():
        if times > 1:
            alike = [name for name, its in meant.items() if its == column]
            reason = f'the columns {_listed(alike)} all mean "{column}". Rename or remove all but one.'
            raise ManifestError(uri, reason)


def _refuse_doubtful(uri: str, name: str, present: tuple[str, ...]) -> None:
    if len(name) > MAX_NAME_CHARS or "\0" in name:
        reason = (
            f'the column "{shown(name)}" has a name of {len(name)} characters, or a NUL in it. Up to {MAX_NAME_CHARS} '
            f"characters other than NUL are allowed; rename it."
        )
        raise ManifestError(uri, reason)
    # A column "Duration" that is silently carried along would have every clip made, and paid, at the default.
    meant = name.lower()
    if name != meant and meant in (*_ASKED, *OUTPUT_COLUMNS):
        reason = (
            f'the column "{name}" is not "{meant}", and so close to it that it is likely a slip. Only the lower-case '
            f'name is allowed; write "{meant}", or rename the column if it is something else.'
        )
        raise ManifestError(uri, reason)
    if (asked := _plural_of(name)) and asked not in present:
        reason = (
            f'the column "{name}" is so close to "{asked}" that it is likely a slip: carried through as it is, each clip would be '
            f'made, and paid, without it. Write "{asked}", or rename the column if it is something else.'
        )
        raise ManifestError(uri, reason)
    if name in _LOADED_NAMES or meant.endswith(_LOADED_ENDINGS):
        reason = (
            f'the column "{name}" cannot be carried through: data set loaders give that name a meaning of their own. '
            f'Any name is allowed but "video", "file_names" and names that end in "_file_name" or "_file_names"; rename it.'
        )
        raise ManifestError(uri, reason)


def _plural_of(name: str) -> str | None:
    """The input column that a name is the plural of; None: none, or it is a column's own name."""
    if name in (*_ASKED, *OUTPUT_COLUMNS):
        return None
    asked = meant_by(bare(name).removesuffix("s"))
    return asked if asked in INPUT_COLUMNS else None


def _no_prompt(names: tuple[str, ...], elsewhere: Callable[[], str]) -> str:
    present = [name for name in names if name]
    other = next((name for name in present if _MEANT_BY_WORD.get(bare(name)) == "prompt"), "")
    near = nearest("prompt", present, cutoff=0.7) or other
    hint = f'Rename "{shown(near)}" to "prompt".' if near else elsewhere() or "Add one."
    others = either([f'"{name}"' for name in INPUT_COLUMNS[1:]])
    return (
        f"there is no prompt column (found: {_listed(present) or 'none'}). The first line must name the columns; prompt is "
        f"required, {others} may be there, and any other is carried through. {hint}"
    )


def _listed(names: list[str]) -> str:
    return ", ".join(f'"{shown(name)}"' for name in names)
