import copy
import json
import pickle
import re
from dataclasses import asdict, dataclass

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from sora_pipeline.errors import Reason, SoraPipelineError
from sora_pipeline.uris import (
    Uri,
    absolute_uri,
    is_incomplete,
    is_uri,
    same_place,
    shown_uri,
    split_output,
    without_secrets,
)

SIGNED = "https://me:hidden@host/m.csv?sig=hidden#hidden"
SHOWN = "https://host/m.csv?***#***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/videos", "/srv/videos"),
        ("/srv/what?#.csv", "/srv/what?#.csv"),
        ("s3://bucket/videos", "s3://bucket/videos"),
        (
            "abfs://container@account.dfs.core.windows.net/a",
            "abfs://container@account.dfs.core.windows.net/a",
        ),
        ("http://[::1]:8000/photo@2x.png", "http://[::1]:8000/photo@2x.png"),
        ("sftp://me:hidden@host/videos", "sftp://me@host/videos"),
        ("ftp://me:hid/den@host/videos", "ftp://me@host/videos"),
        ("ftp://me:hid?den#@host/videos", "ftp://me@host/videos"),
        ("https://hidden@host/m.csv", "https://host/m.csv"),
        ("https://me:hid@den@host/m.csv", "https://host/m.csv"),
        ("https://me:@hidden?@host/m.csv", "https://host/m.csv"),
        ("https://me:hidden@host:8000/m.csv", "https://host:8000/m.csv"),
        ("sftp://me@host/photo@2x.png", "sftp://me@host/photo@2x.png"),
        ("https://host/m.csv?X-Amz-Signature=hidden#hidden", SHOWN),
        ("https://host?sig=hidden", "https://host?***"),
        ("az://container/m.csv?sig=hidden", "az://container/m.csv?***"),
        ("https://host/m.xlsx?sig=hidden#Autumn", "https://host/m.xlsx?***#Autumn"),
        ("zip://m.csv::https://me:hidden@host/m.zip?sig=hidden", "zip://m.csv::https://host/m.zip?***"),
        ("simplecache::https://me:hidden@host/m?sig=hidden", "simplecache::https://host/m?***"),
    ],
)
def test_shown_address_holds_no_password_and_no_signature(text: str, shown: str) -> None:
    assert shown_uri(text) == shown
    assert shown_uri(shown) == shown


PART = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zs", "Zl", "Zp", "Cs")), max_size=12)


@given(
    scheme=st.sampled_from(["http", "HTTPS", "sftp", "s3", "simplecache::https", "zip://a.csv::ftp"]),
    # What nobody can tell from a host with a port, or from the next link of a chain.
    before=PART.filter(lambda text: not re.match("[0-9]+/", text) and "://" not in text),
    after=PART.filter(lambda text: "://" not in text),
    place=st.sampled_from(
        ["//me:{}@host/a", "//host/a?{}", "//host/a#{}", "//me:{}@host:80/a?b#c", "//h/a?{}#"]
    ),
)
def test_no_secret_is_shown_wherever_it_stands_and_whatever_it_is_made_of(
    scheme: str, before: str, after: str, place: str
) -> None:
    full = f"{scheme}:{place.format(f'{before}s3cr3t{after}')}"
    assert is_uri(full)
    assert "s3cr3t" not in shown_uri(full)
    assert "s3cr3t" not in without_secrets(f"cannot open {full}: url='{full}'")
    assert Uri(full).reveal() == full


@given(st.text())
def test_what_is_shown_is_shown_the_same_again(text: str) -> None:
    assert shown_uri(shown_uri(text)) == shown_uri(text)
    assert without_secrets(without_secrets(text)) == without_secrets(text)


def test_a_uri_is_shown_by_whatever_prints_joins_or_serializes_it() -> None:
    class Model(BaseModel):
        uri: Uri

    @dataclass
    class Holder:
        uri: Uri

    uri = Uri(SIGNED)
    model = Model.model_validate({"uri": uri})
    assert model.uri.reveal() == Model.model_validate({"uri": SIGNED}).uri.reveal() == SIGNED
    texts = [
        str(uri),
        f"{uri}",
        f"{uri:>3}",
        uri + "",
        "".join([uri]),
        pickle.loads(pickle.dumps(uri)),
    ]
    assert texts == [SHOWN] * len(texts)
    assert {type(text) for text in texts} == {str}
    others = [
        repr(uri),
        repr([uri]),
        json.dumps({"a": uri}),
        model.model_dump_json(),
        repr(model),
        repr(Holder(uri)),
    ]
    others += [str(model.model_dump()), str(pa.array([uri], pa.string()).to_pylist())]
    assert all(SHOWN in text and "hidden" not in text for text in others)
    assert (
        asdict(Holder(uri))["uri"].reveal()
        == copy.copy(uri).reveal()
        == copy.deepcopy(uri).reveal()
        == SIGNED
    )


def test_uris_are_equal_where_what_is_opened_is() -> None:
    uri, other = Uri(SIGNED), Uri(SIGNED.replace("sig=hidden", "sig=other"))
    assert uri.shown == other.shown
    assert uri != other
    assert uri == SIGNED
    assert uri == SIGNED
    assert len({uri, other, Uri(uri)}) == 2
    assert uri.has_secret
    assert not Uri("/in/m.csv").has_secret
    assert Uri("/in/m.csv") == "/in/m.csv"
    kept = absolute_uri(uri)
    assert isinstance(kept, Uri)
    assert kept == uri


def test_errors_and_reasons_show_uris_in_the_words_of_others() -> None:
    error = SoraPipelineError(f"403, url='{SIGNED}'", "code", manifest=SIGNED)
    assert "hidden" not in f"{error}{error!r}{error.message}{error.facts}"
    reason = Reason(f"403, url='{SIGNED}'", "code", {"manifest": SIGNED})
    assert "hidden" not in repr(reason)


def test_an_address_as_it_is_shown_is_known_as_such() -> None:
    assert is_incomplete(SHOWN)
    assert is_incomplete("https://host/m.csv?***")
    assert not is_incomplete(SIGNED)
    assert not is_incomplete("what?***")


def test_places_are_the_same_by_their_names() -> None:
    assert same_place("s3://bucket/out/") == "s3://bucket/out"


def test_path_of_a_stored_video_is_an_output_and_a_name() -> None:
    assert split_output("s3://bucket/videos/out/videos/a/a-1.mp4") == (
        "s3://bucket/videos/out",
        "videos/a/a-1.mp4",
    )
    with pytest.raises(ValueError, match="not the path"):
        split_output("/out/a.mp4")
