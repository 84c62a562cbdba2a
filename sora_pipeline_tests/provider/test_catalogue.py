from decimal import Decimal
from pathlib import Path

import pytest

from sora_pipeline.clip import Size
from sora_pipeline.provider.catalogue import CatalogueError, UnknownModelError, load_catalogue
from sora_pipeline.sandbox.catalogue import MODELS as SANDBOX_MODELS

BUILT_IN = ("dreamina-seedance-2-0-260128", "sora-2", "sora-2-pro", "viduq3-pro", "wan-2.6")
SMALL, TALL, FULL_HD = Size(720, 1280), Size(1024, 1792), Size(1080, 1920)


def user_file(folder: Path, text: str) -> Path:
    path = folder / "models.toml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    ("model", "duration", "size", "usd"),
    [
        ("sora-2", 4, SMALL, "0.40"),
        ("sora-2", 12, Size(1280, 720), "1.20"),
        ("sora-2-pro", 4, SMALL, "1.20"),
        ("sora-2-pro", 8, TALL, "4.00"),
        ("sora-2-pro", 12, Size(1792, 1024), "6.00"),
        ("sora-2-pro", 12, FULL_HD, "8.40"),
    ],
)
def test_cost_is_exact(model: str, duration: int, size: Size, usd: str) -> None:
    assert load_catalogue().model(model).cost(duration, size) == Decimal(usd)


def test_sizes_and_durations_are_those_of_the_parameter_table() -> None:
    pro, plain = load_catalogue().model("sora-2-pro"), load_catalogue().model("sora-2")
    assert plain.sizes == (Size(720, 1280), Size(1280, 720))
    assert pro.sizes == (*plain.sizes, Size(1024, 1792), Size(1792, 1024))
    assert pro.durations == plain.durations == (4, 8, 12)


def test_size_without_a_price_is_an_error() -> None:
    with pytest.raises(ValueError, match="sora-2 has no price for 1024x1792"):
        load_catalogue().model("sora-2").cost(4, TALL)


def test_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(UnknownModelError) as caught:
        load_catalogue().model("sora-3")
    assert str(caught.value) == f"unknown model 'sora-3'; the catalogue has {', '.join(BUILT_IN)}."
    assert isinstance(caught.value, KeyError)


def test_user_file_changes_single_keys_and_adds_models(tmp_path: Path) -> None:
    path = user_file(
        tmp_path,
        """
        [models.sora-2-pro.usd_per_second]
        "720x1280" = 0.24
        "1080x1920" = 0.70
        [models.veo]
        vendor = "google"
        formats = ["gptproto-unified"]
        durations = [8, 4]
        max_prompt_chars = 1000
        expected_render_s = 60
        usd_per_second = { "1280x720" = 1 }
        image = { media_types = ["image/png"], max_bytes = 1000 }
        """,
    )
    catalogue = load_catalogue(path)
    pro = catalogue.model("sora-2-pro")
    assert pro.cost(4, SMALL) == Decimal("0.96")
    assert pro.cost(4, TALL) == Decimal("2.00")
    assert FULL_HD in pro.sizes
    assert catalogue.model("veo").durations == (4, 8)
    assert (catalogue.model("veo").slug, catalogue.model("veo").frame) == ("google/veo", "size")
    assert catalogue.names == tuple(sorted((*BUILT_IN, "veo")))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[models.sora-2]\nduration = [4]", "models.sora-2.duration"),
        ('[models.sora-2.usd_per_second]\n"720by1280" = 1', "models.sora-2.usd_per_second.720by1280"),
        ('[models.sora-2.usd_per_second]\n"720x1280" = -1', "models.sora-2.usd_per_second.720x1280"),
        ('[models.sora-2.usd_per_second]\n"720x1280" = nan', "models.sora-2.usd_per_second.720x1280"),
        ('[models.new]\nvendor = "x"', "models.new.usd_per_second"),
        ("[model.sora-2]", "model"),
        ("models = 3", "models"),
        ("not toml", "not valid TOML"),
    ],
)
def test_mistake_names_file_and_key(tmp_path: Path, text: str, key: str) -> None:
    path = user_file(tmp_path, text)
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(path)
    assert str(path) in str(caught.value)
    assert key in str(caught.value)


def test_missing_user_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"gone\.toml: cannot be read"):
        load_catalogue(tmp_path / "gone.toml")


def test_at_least_three_models_of_the_unified_format_outlive_sora() -> None:
    catalogue = load_catalogue()
    models = [catalogue.model(name) for name in catalogue.names if not name.startswith("sora")]
    assert [model.slug for model in models if "gptproto-unified" in model.formats] == [
        "doubao/dreamina-seedance-2-0-260128",
        "vidu/viduq3-pro",
        "alibaba/wan-2.6",
    ]
    assert catalogue.model("wan-2.6").cost(10, Size(1920, 1080)) == Decimal("1.35")
    assert catalogue.model("dreamina-seedance-2-0-260128").cost(4, SMALL) == Decimal("0.66528")


def test_model_is_found_by_name_and_by_slug() -> None:
    catalogue = load_catalogue()
    assert catalogue.find("vidu/viduq3-pro") is catalogue.find("viduq3-pro") is catalogue.model("viduq3-pro")
    assert catalogue.find("sora-3") is None


def test_slug_may_differ_from_vendor_and_name(tmp_path: Path) -> None:
    path = user_file(tmp_path, '[models.sora-2]\nslug = "elsewhere/sora-two"')
    assert load_catalogue(path).model("sora-2").slug == "elsewhere/sora-two"


def test_sandbox_bills_what_the_catalogue_says() -> None:
    """Two lists on purpose, as two companies have: an estimate must not differ from the sandbox's bill."""
    for name, offered in SANDBOX_MODELS.items():
        model = load_catalogue().model(name)
        prices = {str(size): usd for size, usd in model.usd_per_second.items()}
        assert (model.slug, prices) == (
            offered.slug,
            {str(size): usd for size, usd in offered.usd_per_second.items()},
        )
        assert model.durations == tuple(sorted(offered.durations))
