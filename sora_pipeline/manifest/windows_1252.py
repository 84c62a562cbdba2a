# ruff: noqa: RUF001 - letters and signs as people write them
"""Whether a file that is not UTF-8 is Windows-1252, in which Excel saves "CSV" in Western Europe and America.

A code page cannot be proven. It is taken for granted only where every byte beyond ASCII stands as it would in a Western European
text, where all of them together are letters of one such language, and where no language of another code page that has all these bytes
as well would mean other letters by them. A prompt with wrong letters is paid for like any other.
"""

import re

from sora_pipeline.spool import CHUNK_BYTES, Spool

_WESTERN = {
    "Danish and Norwegian": "æøåé",
    "Dutch": "éëïóöüèê",
    "French": "àâæçéèêëîïôœùûü",
    "German": "äöüß",
    "Italian": "àèéìíîòóùú",
    "Portuguese": "áâãàçéêíóôõúü",
    "Spanish": "áéíñóúü¡¿",
    "Swedish and Finnish": "åäöé",
}
_RIVALS = (
    ("cp1250", "áčďéěíňóřšťúůýž"),  # Czech
    ("cp1250", "áäčďéíĺľňóôŕšťúýž"),  # Slovak
    ("cp1250", "ąćęłńóśźż"),  # Polish
    ("cp1250", "áéíóöőúüű"),  # Hungarian
    ("cp1250", "čćđšž"),  # Croatian, Slovene
    ("cp1250", "ăâîşţ"),  # Romanian
    ("cp1257", "ąčęėįšųūž"),  # Lithuanian
    ("cp1257", "āčēģīķļņšūž"),  # Latvian
    ("cp1257", "äöõüšž"),  # Estonian
    ("cp1254", "çğıöşüâîû"),  # Turkish
)


def _bytes_of(letters: str, codec: str) -> frozenset[int]:
    return frozenset((letters + letters.upper().replace("SS", "")).encode(codec, errors="ignore"))


_LANGUAGES = [_bytes_of(letters, "cp1252") for letters in _WESTERN.values()]
_OTHERS = [(codec, _bytes_of(letters, codec)) for codec, letters in _RIVALS]
_SIGNS = frozenset("€‚„…‘’“”–—™\u00a0§©«®°·»×÷".encode("cp1252"))
"""They are the same in the code pages of all these languages."""
_ASCII = bytes(range(0x80))
_ACCENTED = rb"\x8c\x9c\x9f\xc0-\xd6\xd8-\xf6\xf8-\xff"
_LETTER = rb"[A-Za-z" + _ACCENTED + rb"]"
# As Cyrillic, Greek and East Asian texts would look, or those of DOS and old Macs, whose letters stand where signs are here.
_ODD = re.compile(
    rb"[" + _ACCENTED + rb"]{3}"
    rb"|[a-z][\x8c\x9f\xc0-\xd6\xd8-\xde]"
    rb"|"
    + _LETTER
    + rb"[\x80\x82\x84\x85\x91\x93\x94\x96\x97\x99]"
    + _LETTER
    + rb"|"
    + _LETTER
    + rb"[\x82\x84]"
    rb"|[\x80\x94\x99]" + _LETTER + rb"|" + _LETTER + rb"\xa7|[A-Za-z0-9]\xa1|[a-z,] \xc9 "
)
_CLOSED_BY = {0x82: {0x91, 0x92}, 0x84: {0x93, 0x94}}
"""Low quotation marks never stand without one that closes them; old Macs have letters there."""
_CLOSES_LOW = re.compile(_LETTER + rb"\x93")
_APOSTROPHE = re.compile(_LETTER + rb"\x92" + _LETTER)
_USUAL_APOSTROPHE = re.compile(
    rb"(?:(?<!" + _LETTER + rb")" + _LETTER + rb"{1,2}|[Qq][Uu]|[Aa]ujourd)\x92" + _LETTER
    + rb"|" + _LETTER + rb"\x92(?:[stdmST]|re|ve|ll|RE|VE|LL)(?!" + _LETTER + rb")"
)  # fmt: skip
_CONTEXT = 16
"""Bytes before a stretch that decide what its first ones mean."""


def is_windows_1252(content: Spool) -> bool:
    """Whether a file can be nothing else, as far as such a thing can be told."""
    found: set[int] = set()
    closes_low = False
    before = b""
    with content.open() as stream:
        while chunk := stream.read(CHUNK_BYTES):
            found.update(chunk.translate(None, _ASCII))
            stretch = before + chunk
            if _ODD.search(stretch) or _odd_apostrophe(stretch):
                return False
            closes_low = closes_low or _CLOSES_LOW.search(stretch) is not None
            before = stretch[-_CONTEXT:]
    if closes_low and 0x84 not in found:
        return False
    if any(low in found and not found & closing for low, closing in _CLOSED_BY.items()):
        return False
    letters = found - _SIGNS - {0x92}
    return any(letters <= language for language in _LANGUAGES) and not any(
        letters and letters <= others and _differ(letters, codec) for codec, others in _OTHERS
    )


def _odd_apostrophe(stretch: bytes) -> bool:
    """Whether what would be an apostrophe within a word stands where none does."""
    if b"\x92" not in stretch:
        return False
    return bool(_APOSTROPHE.search(_USUAL_APOSTROPHE.sub(b"", stretch)))


def _differ(letters: set[int], codec: str) -> bool:
    written = bytes(sorted(letters))
    return written.decode(codec, errors="replace") != written.decode("cp1252", errors="replace")
