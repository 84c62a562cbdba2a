from dataclasses import replace

from sora_pipeline.ledger import Ledger
from sora_pipeline.production.ownership import read_ownership, write_ownership
from sora_pipeline.store import OutputStore
from sora_pipeline_tests.assets.conftest import Studio, sentence_of
from sora_pipeline_tests.conftest import rows_of


def test_an_output_that_another_ledger_took_is_refused_with_what_to_type(
    studio: Studio, ledger: Ledger
) -> None:
    assert studio.read(rows_of(a="a fox")).success
    store = OutputStore(ledger.productions.get("prompts").output_uri)
    owner = read_ownership(store)
    assert owner is not None
    write_ownership(store, replace(owner, ledger_id="another"))
    sentence = sentence_of(studio.materialize(["video_manifest"]))
    assert "another ledger" in sentence
    assert f"`sora-pipeline adopt {store.uri}`" in sentence
