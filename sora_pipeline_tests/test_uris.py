import pytest

from sora_pipeline.uris import shown_uri, split_output


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/videos", "/srv/videos"),
        ("s3://bucket/videos", "s3://bucket/videos"),
        ("sftp://me:hidden@host/videos", "sftp://me@host/videos"),
        ("https://host/m.csv?X-Amz-Signature=hidden#hidden", "https://host/m.csv?***#***"),
    ],
)
def test_shown_address_holds_no_password_and_no_signature(text: str, shown: str) -> None:
    assert shown_uri(text) == shown


def test_path_of_a_stored_video_is_an_output_and_a_name() -> None:
    assert split_output("s3://bucket/videos/out/videos/a/a-1.mp4") == (
        "s3://bucket/videos/out",
        "videos/a/a-1.mp4",
    )
    with pytest.raises(ValueError, match="not the path"):
        split_output("/out/a.mp4")
