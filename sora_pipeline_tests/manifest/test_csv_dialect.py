# ruff: noqa: RUF001 - texts as people write them
"""CSV as people's programs write it: read back as it was written, or refused in words; never read as something else."""

import contextlib
import csv
import io
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sora_pipeline.manifest.csv_format import parse_csv
from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.spool import Spool
from sora_pipeline_tests.manifest.conftest import load

CELL = st.text(
    st.sampled_from(
        [*'",;\t|', "\n", "\r", " ", "a", "b", "8", "é", "ö", "ß", "’", "€", "猫", "я", "{", "}", "="]
    ),
    max_size=8,
)
NAME = st.text(st.sampled_from([*",;\t", " ", "x", "y", "é"]), min_size=1, max_size=4)
Written = tuple[list[list[str]], str, str]


def text_of(table: list[list[str]], delimiter: str, quoting: int = csv.QUOTE_MINIMAL) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter, quoting=quoting).writerows(table)
    return stream.getvalue()


def read(content: bytes) -> list[list[str]]:
    table = parse_csv("m.csv", Spool.of(content))
    assert not any(row.surplus for row in table.rows)
    return [list(table.names), *(list(row.cells) for row in table.rows)]


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    names = draw(st.lists(NAME.map(str.strip).filter(bool), max_size=3, unique=True))
    place = draw(st.integers(0, len(names)))
    header = [*names[:place], draw(st.sampled_from(["prompt", "Prompt", " PROMPT"])), *names[place:]]
    row = st.lists(CELL, min_size=len(header), max_size=len(header))
    return [header, *draw(st.lists(row.filter(lambda cells: "".join(cells).strip()), min_size=1, max_size=4))]


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


@settings(max_examples=1500, deadline=None)
@given(
    table=tables(),
    delimiter=st.sampled_from(",;\t"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    declared=st.booleans(),
)
@example([["x;Prompt;y", "prompt"], ["a", "b"]], ",", csv.QUOTE_MINIMAL, "utf-8", False)
@example([["prompt", "x"], ["a;b", ""]], ",", csv.QUOTE_MINIMAL, "utf-8", False)
@example([["prompt"], ["8,"]], ";", csv.QUOTE_MINIMAL, "utf-8", False)
@example([["prompt"], ["a, b; c"]], ";", csv.QUOTE_MINIMAL, "utf-8", False)
@example([["prompt", "x"], ["ÖÖÖ", "é"]], ";", csv.QUOTE_MINIMAL, "cp1252", False)
@example([["prompt"], ["ß’"]], ",", csv.QUOTE_MINIMAL, "cp1252", False)
def test_what_any_dialect_wrote_is_read_back_or_refused(
    table: list[list[str]], delimiter: str, quoting: int, encoding: str, declared: bool
) -> None:
    text = (f"sep={delimiter}\r\n" if declared else "") + text_of(table, delimiter, quoting)
    try:
        content = text.encode(encoding)
    except UnicodeEncodeError:
        return
    if len(table[0]) == 1 and any(not cells[0].strip(", \r\n") for cells in table[1:]):
        return  # a prompt of nothing but commas
    if encoding == "cp1252" and not content.isascii() and _is_utf8(content):
        return  # the same bytes are another text in UTF-8, and that is by far the likelier one
    # A quoted comma in a table of one column cannot be told from two cells; surplus cells are a problem of their row.
    with contextlib.suppress(ManifestError):
        parsed = parse_csv("m.csv", Spool.of(content))
        expected = [[name.strip() for name in table[0]], *table[1:]]
        found = [list(parsed.names), *(list(row.cells) for row in parsed.rows)]
        surplus = {row.number for row in parsed.rows if row.surplus}
        kept = [cells for number, cells in enumerate(found) if number not in surplus]
        assert kept == [cells for number, cells in enumerate(expected) if number not in surplus]
        assert not surplus or (len(table[0]) == 1 and delimiter != "," and quoting == csv.QUOTE_MINIMAL)


@pytest.mark.parametrize(("delimiter", "words"), [(";", "semicolons"), ("\t", "tabs")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_what_was_guessed_is_said(tmp_path: Path, delimiter: str, words: str, encoding: str) -> None:
    text = text_of([["Prompt", "Clip ID", "duration"], ["Ein Fuchs, grün", "fox", "8,0"]], delimiter)
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    (tmp_path / "m.csv").write_bytes((mark + text).encode(encoding))
    snapshot = load(tmp_path / "m.csv")
    [clip] = snapshot.clips
    assert (clip.prompt, clip.clip_id, clip.duration) == ("Ein Fuchs, grün", "fox", 8)
    named = ", UTF-16" if encoding.startswith("utf-16") else ""
    assert snapshot.understanding.sentences == [
        f"read as CSV with {words}, decimal commas{named}; columns Prompt → prompt, Clip ID → clip_id"
    ]


def test_nothing_is_said_where_nothing_was_guessed(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("prompt,duration,note\nA fox,8,x\n")
    assert load(tmp_path / "m.csv").understanding.sentences == []


@pytest.mark.parametrize(
    "text",
    [
        "Ein Fuchs läuft über die Straße",
        "Une fête très animée où l’hôtel brûle, ça va – jusqu’à l’aube…",
        "El niño corrió mañana después; ¿qué pasó?",
        "A manhã de um coração, três pães",
        "En räv på en ö – så är det",
        "Rødgrød med fløde på en ærlig måde",
        "It’s the “best” – 100 % don’t care… 1280×720 © 2026",
        "Perché la città è così più bella",
        "„Groß“, sagt er; ‚klein‘, sagt sie. Nach § 5",
        "É tarde. É noite, é fria",
        "¡Hola!, dice; ¡corre!",
    ],
)
def test_windows_1252_is_read_where_it_can_be_nothing_else(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.csv").write_bytes(
        f"prompt;duration\r\n{text};8\r\n".replace(text, f'"{text}"').encode("cp1252")
    )
    snapshot = load(tmp_path / "m.csv")
    assert [clip.prompt for clip in snapshot.clips] == [text]
    assert snapshot.understanding.sentences == [
        'read as CSV with semicolons, Windows-1252 (a guess from its letters; to be sure, save it as "CSV UTF-8")'
    ]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Příliš žluťoučký kůň úpěl ďábelské ódy", "cp1250"),
        ("Člověk běží", "cp1250"),
        ("Zażółć gęślą jaźń", "cp1250"),
        ("Łódź nocą", "cp1250"),
        ("Árvíztűrő tükörfúrógép", "cp1250"),
        ("Čovjek šeće", "cp1250"),
        ("človek", "cp1250"),
        ("Şoarece în pădure", "cp1250"),
        ("Лиса бежит через лес", "cp1251"),
        ("Η αλεπού τρέχει", "cp1253"),
        ("Bir tilki ağaçların altında koşuyor", "cp1254"),
        ("שועל רץ ביער", "cp1255"),
        ("Lapė bėga per mišką", "cp1257"),
        ("狐が森を走る", "cp932"),
        ("狐狸在森林里奔跑", "gbk"),
        ("여우가 숲을 달린다", "cp949"),
        ("Ein Mädchen läuft über die Straße", "mac_roman"),
        ("Une fête très animée", "mac_roman"),
        ("El niño corrió mañana", "mac_roman"),
        ("It’s the “best” one", "mac_roman"),
        ("A fox at 20°C", "mac_roman"),
        ("A fox waits … then leaps", "mac_roman"),
        ("Groß", "mac_roman"),
        ("Ça va", "mac_roman"),
        ("così", "mac_roman"),
        ("Ein Mädchen läuft über die Straße", "cp850"),
        ("Une fête très animée", "cp850"),
        ("A fox \x81 and", "latin-1"),
    ],
)
def test_another_code_page_is_refused_and_never_taken_for_windows_1252(text: str, encoding: str) -> None:
    with pytest.raises(ManifestError, match=r"line 2 is not UTF-8.*CSV UTF-8"):
        parse_csv("m.csv", Spool.of(f"prompt;duration\n{text};8\n".encode(encoding)))


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(
        st.sampled_from("abc xyzáčďéěíňóřšťúůýžąćęłńśźżäöüßèàñøåæçêâîûōūģķļņ’“”–"), min_size=3, max_size=30
    ),
    encoding=st.sampled_from(["cp1250", "cp1257", "cp1254"]),
)
def test_words_of_other_languages_are_the_same_or_refused(text: str, encoding: str) -> None:
    """Where the letters are those of one language of that code page."""
    alphabets = {
        "cp1250": ("áčďéěíňóřšťúůýž", "ąćęłńóśźż", "áäčďéíĺľňóôŕšťúýž"),
        "cp1257": ("āčēģīķļņšūž",),
        "cp1254": ("çöü",),
    }
    accented = {letter for letter in text if not letter.isascii()}
    if not any(accented <= set(alphabet) for alphabet in alphabets[encoding]):
        return
    with contextlib.suppress(ManifestError):
        [[_], [read_as]] = read(f"prompt\n{text.strip() or 'a'}\n".encode(encoding))
        assert read_as == (text.strip() or "a")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"prompt;x,Prompt\na,b\n", ["commas and with semicolons", "double quotes"]),
        (b"prompt|x\na|b\n", ["vertical bars", "semicolons and tabs"]),
        (b"sep=|\nprompt|x\na|b\n", ['"|"', "Commas, semicolons and tabs"]),
        (b"prompt;duration\na,8\n", ["semicolons", "row 2", "commas"]),
        (b"prompt\tduration\n\nb\t4\na;8\n", ["tabs", "row 4", "semicolons"]),
        (b"prompt,duration\nb,4\nA fox;8\n", ["commas", "row 3", "semicolons", "same sign", "double quotes"]),
        (b"clip_id,prompt,duration\nowl,An owl,4\nfox;A fox;8\n", ["commas", "row 3", "semicolons"]),
        (b"prompt,duration\nA fox\t8\n", ["commas", "row 2", "tabs"]),
        (b"p\0r\0o\0m\0p\0t\0\n\0a\0", ["UTF-16", "byte order mark", "CSV UTF-8"]),
        (b"\xff\xfep\0r\0o\0m\0p\0t\0\n\0\x00\xd8", ["UTF-16", "CSV UTF-8"]),
        ("prompt\na\n".encode("utf-32"), ["UTF-32"]),
        (b"\xef\xbb\xbfprompt\ncaf\xe9\n", ["line 2 is not UTF-8", "0xe9"]),
        (b"promt;duration\na;8\n", ['Rename "promt" to "prompt"', '"duration"']),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_with_what_to_do(
    content: bytes, words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(ManifestError) as refused:
        load(tmp_path / "m.csv")
    assert all(word in refused.value.reason for word in words), refused.value.reason


@pytest.mark.parametrize(
    ("content", "prompts"),
    [
        (b"prompt,duration\nA fox; it runs,8\n", ["A fox; it runs"]),
        (b"prompt,duration\nA fox;8,4\n", ["A fox;8"]),
        (b"prompt,duration\nA fox;it runs,\n", ["A fox;it runs"]),
        (b"prompt,duration\nA fox; it runs\n", ["A fox; it runs"]),
        (b"prompt,duration,note\nA fox;it runs\n", ["A fox;it runs"]),
        (b"prompt\nA fox;8\n", ["A fox;8"]),
    ],
)
def test_a_prompt_may_hold_semicolons(content: bytes, prompts: list[str], tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(content)
    snapshot = load(tmp_path / "m.csv")
    assert [clip.prompt for clip in snapshot.clips] == prompts
    assert not snapshot.problems


def test_a_separator_that_the_first_line_declares_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"sep=;\r\nprompt;duration\r\na, b;8\r\nc;5\r\n")
    snapshot = load(tmp_path / "m.csv")
    assert [clip.prompt for clip in snapshot.clips] == ["a, b"]
    assert [problem.place for problem in snapshot.problems] == ["row 3"], "Excel shows no row for it"


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"prompt,duration\nfine,8\nbad,5\n", "row 3"),
        (b"\n\nprompt,duration\nfine,8\n\nbad,5\n", "row 6"),
        (b'prompt,duration\n"two\nlines",8\nbad,5\n', "row 3"),
        (b"\xef\xbb\xbfprompt;duration\r\nfine;8\r\n;\r\nbad;5\r\n", "row 4"),
    ],
    ids=["plain", "blank rows", "a line break in a cell", "semicolons"],
)
def test_problems_name_the_row_that_a_spreadsheet_shows(tmp_path: Path, content: bytes, place: str) -> None:
    (tmp_path / "m.csv").write_bytes(content)
    [problem] = load(tmp_path / "m.csv").problems
    assert problem.sentence("m.csv").startswith(f"m.csv, {place} (clip bad-")


def test_google_sheets_exports_are_read(tmp_path: Path) -> None:
    """CSV with line feeds or CRLF, no byte order mark, quotes where needed; a sheet with decimal commas quotes them."""
    (tmp_path / "m.csv").write_bytes(
        'Prompt,Duration,Notes\r\n"A fox, red",\'8,"x ""y"""\r\n"猫","8,0",\r\n'.replace("'8", "8").encode()
    )
    snapshot = load(tmp_path / "m.csv")
    assert [(clip.prompt, clip.duration, clip.carried["Notes"]) for clip in snapshot.clips] == [
        ("A fox, red", 8, 'x "y"'),
        ("猫", 8, ""),
    ]
    assert snapshot.understanding.sentences == [
        "read with decimal commas; columns Prompt → prompt, Duration → duration"
    ]
