"""Takes an output that another ledger made over into this one: nothing is submitted, and nothing in it is paid for again."""

from dataclasses import replace

from sora_pipeline.errors import Reason
from sora_pipeline.ledger import Ledger
from sora_pipeline.production.naming import NAME_RULE, is_name
from sora_pipeline.production.ownership import Ownership, read_ownership
from sora_pipeline.production.progress import open_elsewhere, why_left_open
from sora_pipeline.provider.catalogue import Catalogue
from sora_pipeline.recovery.rebuild import RebuildError, Recovered, recover_output, restore
from sora_pipeline.settings import Settings
from sora_pipeline.store import OutputStore


class AdoptError(RebuildError):
    """Raised where an output cannot be taken over; the text says why."""


def adopt(
    ledger: Ledger, settings: Settings, catalogue: Catalogue, output_uri: str, name: str | None
) -> Recovered:
    """Make an output and all that it tells a production of this ledger.

    Raises:
        AdoptError: it is this ledger's already, or the ledger has another production of its name.
        RebuildError: it holds no production.
        StoreError: it cannot be read or written.
        OutputOwnedError: its owner file is damaged, or was written by a newer version.
    """
    ownership = read_ownership(OutputStore(output_uri))
    _require_unknown(ledger, output_uri, ownership)
    recovered = recover_output(output_uri, name, settings, catalogue, ledger.now())
    (production,) = recovered.contents.productions
    _require_free_name(ledger, output_uri, production.production_id)
    pipeline = production.pipeline if ledger.pipelines.seen(production.pipeline) else ""
    if pipeline != production.pipeline:
        recovered.notes.append(
            Reason(
                f"this ledger knows no pipeline {production.pipeline}: {production.production_id} is now served by the built-in one"
            )
        )
    productions = [replace(production, pipeline=pipeline)]
    recovered.contents = replace(recovered.contents, productions=productions)
    restore(ledger, recovered)
    if ownership is not None and ownership.ledger_id != ledger.ledger_id:
        recovered.notes.append(
            Reason(
                f"the ledger {ownership.ledger or 'that had it'} still knows the production {ownership.production} and what is "
                "pending in it: do not run it there any more, or clips are made and paid for twice"
            )
        )
    open_at = open_elsewhere(ledger, settings, production.production_id)
    recovered.notes += [why_left_open(account, count) for account, count in open_at.items()]
    return recovered


def _require_unknown(ledger: Ledger, output_uri: str, ownership: Ownership | None) -> None:
    known = ledger.productions.of_output(output_uri.rstrip("/"))
    is_ours = ownership is not None and ownership.ledger_id == ledger.ledger_id
    if ownership is not None and is_ours and ledger.productions.find(ownership.production) is not None:
        known = [ledger.productions.get(ownership.production)]
    if known:
        raise AdoptError(
            f"{output_uri} belongs to the production {known[0].production_id} of this ledger already: there is nothing to take "
            "over",
            "adopted_already",
            production=known[0].production_id,
        )


def _require_free_name(ledger: Ledger, output_uri: str, name: str) -> None:
    if not is_name(name):
        raise AdoptError(f"{name!r} cannot be the name of a production; allowed: {NAME_RULE}", "unnamed")
    known = ledger.productions.find(name)
    if known is not None:
        raise AdoptError(
            f"this ledger has a production {name} already (made from {known.manifest_uri} into {known.output_uri}), and nothing "
            "was changed",
            "name_taken",
            output=output_uri,
        )
