"""Which providers are found, and what is said of those that cannot be used."""

import subprocess
import sys
from pathlib import Path

import pytest

from sora_pipeline.provider import registry
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline.provider.config import ProviderConfig
from sora_pipeline.provider.protocol import ImageTransport
from sora_pipeline.provider.registry import (
    BrokenProviderError,
    ProviderNotInstalledError,
    broken,
    find,
    installed,
    make_provider,
)
from sora_pipeline.provider.spec import PROTOCOL_VERSION, ProviderSpec
from sora_pipeline.settings import Settings, SettingsError
from sora_pipeline_tests.provider.packages import MODEL, install

OURS = ("gptproto", "gptproto-unified", "openai-videos", "sandbox")
GOOD = 'spec = ProviderSpec(name="acme", version=1, make=make, default_base_url="https://acme.example")'
WITH_CATALOGUE = (
    'spec = ProviderSpec(name="acme", version=1, make=make, catalogue=Path(__file__).parent / "acme.toml")'
)


@pytest.fixture
def site(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of ``sys.path`` into which packages can be installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    for module in ("acme", "acme_too", "sora_acme"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    registry._load.cache_clear()
    return folder


def test_ours_are_registered_like_anybodys() -> None:
    assert set(OURS) <= set(installed())
    assert [find(name).version for name in OURS] == [PROTOCOL_VERSION] * 4
    assert [name for name in OURS if find(name).simulated] == ["sandbox"]
    assert broken() == {}


def test_installed_provider_is_found_and_made(site: Path) -> None:
    install(site, "sora-acme", "acme", GOOD)
    assert "acme" in installed()
    assert "sora_acme" not in sys.modules
    settings = Settings(provider="acme", api_key="k")
    assert settings.account_name == "acme"
    provider = make_provider(ProviderConfig(name="acme", api_key="k"))  # type: ignore[arg-type]
    assert provider.base_url == "https://acme.example"


def test_absent_provider_names_those_that_are_installed_and_how_to_get_it() -> None:
    with pytest.raises(
        ProviderNotInstalledError, match=r"installed: gptproto, .*Install the package .* with pip"
    ):
        find("acme")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise RuntimeError('out of order')", "RuntimeError: out of order"),
        ("other = 1", "AttributeError"),
        ("spec = 'acme'", "sora_acme:spec is a str, not a ProviderSpec"),
        (
            'spec = ProviderSpec(name="acme", version=2, make=make)',
            r"speaks version 2 of the provider protocol, this sora-pipeline version 1; upgrade sora-pipeline",
        ),
        (
            'spec = ProviderSpec(name="acme", version=0, make=make)',
            r"speaks version 0 .*; upgrade sora-acme 1.0",
        ),
        ('spec = ProviderSpec(name="acme-video", version=1, make=make)', "its spec is named 'acme-video'"),
        ('spec = ProviderSpec(name="Acme Video", version=1, make=make)', "is no name for a provider"),
    ],
)
def test_broken_provider_is_one_sentence_and_stops_only_who_uses_it(
    site: Path, code: str, words: str
) -> None:
    install(site, "sora-acme", "acme", code)
    with pytest.raises(
        BrokenProviderError, match=f"the provider 'acme' of sora-acme 1.0 cannot be used: .*{words}"
    ):
        find("acme")
    with pytest.raises(SettingsError) as caught:
        Settings(provider="acme", api_key="k")
    assert len(str(caught.value).splitlines()) == 1
    assert Settings().provider == "sandbox"
    assert list(broken()) == list(load_catalogue().problems) == ["acme"]


def test_one_name_offered_twice_is_refused(site: Path) -> None:
    install(site, "acme", "acme", GOOD)
    install(site, "acme-too", "acme", GOOD)
    with pytest.raises(
        BrokenProviderError, match=r"acme 1\.0 and acme-too 1\.0 both offer a provider 'acme'"
    ):
        find("acme")


def test_name_of_ours_cannot_be_taken_over(site: Path) -> None:
    install(site, "acme", "gptproto", GOOD.replace('"acme"', '"gptproto"'))
    with pytest.raises(BrokenProviderError, match=r"acme 1\.0 and sora-pipeline .* both offer"):
        find("gptproto")


def test_spec_without_the_automatic_transport_is_refused() -> None:
    with pytest.raises(ValueError, match="AUTO"):
        ProviderSpec(
            name="acme", version=1, make=make_provider, image_transports=frozenset({ImageTransport.URL})
        )


# --- models that a provider brings -------------------------------------------------------------------------------------


def test_models_that_a_provider_brings_are_known(site: Path) -> None:
    install(site, "acme", "acme", WITH_CATALOGUE)
    (site / "acme.toml").write_text(MODEL.format(name="acme-1") + '[models.sora-2]\nformats = ["acme"]\n')
    catalogue = load_catalogue()
    assert catalogue.model("acme-1").formats == ("acme",)
    assert catalogue.model("sora-2").formats[-1] == "acme"
    assert catalogue.model("sora-2").durations == (4, 8, 12)
    assert catalogue.problems == {}


def test_users_file_lies_over_what_a_provider_brings(site: Path, tmp_path: Path) -> None:
    install(site, "acme", "acme", WITH_CATALOGUE)
    (site / "acme.toml").write_text(MODEL.format(name="acme-1"))
    (tmp_path / "mine.toml").write_text("[models.acme-1]\ndurations = [7]\n")
    assert load_catalogue(tmp_path / "mine.toml").model("acme-1").durations == (7,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("[models", "not valid TOML"),
        ("", "models"),
        ("models = 3", "models"),
        ("[models.acme-1]\nvendor = 'acme'", "models.acme-1.formats: Field required"),
        (MODEL.format(name="acme-1").replace('["acme"]', '["other"]'), "formats does not name acme"),
        ("[models.sora-2]\nusd_per_second = {'720x1280' = 0.01}", "sora-2 is in the catalogue already"),
    ],
)
def test_catalogue_with_a_mistake_is_left_out_and_stops_only_who_uses_it(
    site: Path, text: str | None, words: str
) -> None:
    install(site, "acme", "acme", WITH_CATALOGUE)
    if text is not None:
        (site / "acme.toml").write_text(text)
    catalogue = load_catalogue()
    assert words in catalogue.problems["acme"]
    assert "sora-2-pro" in catalogue.names
    with pytest.raises(SettingsError, match="SORA_PROVIDER=acme: the catalogue of the provider acme"):
        Settings(provider="acme", api_key="k")


def test_commands_know_what_is_installed_and_say_what_is_broken(site: Path) -> None:
    install(site, "acme", "acme", WITH_CATALOGUE)
    (site / "acme.toml").write_text(MODEL.format(name="acme-1"))
    install(site, "acme-too", "too", "import no_such_module")

    def command(*arguments: str) -> str:
        code = f"import sys; sys.path.insert(0, {str(site)!r}); from sora_pipeline.cli import main; main()"
        return " ".join(
            subprocess.run(
                [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
            ).stdout.split()
        )

    models = command("models")
    assert "acme-1 acme 5 1280x720 0.2" in models
    assert "installed providers: acme, gptproto" in models
    assert "the provider 'too' of acme-too 1.0 cannot be used" in models
    assert "the provider 'too' of acme-too 1.0 cannot be used" in command("doctor")
