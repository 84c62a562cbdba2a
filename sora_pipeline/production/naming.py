"""What a production is called, which manifest and output are its own, and which rows only amend it."""

import hashlib
import re
from dataclasses import dataclass
from decimal import Decimal

from sora_pipeline.admission.limits import account_of
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.ledger import Ledger, Plan, Production
from sora_pipeline.manifest.reading import ManifestFile
from sora_pipeline.manifest.uris import file_name, split_sheet
from sora_pipeline.settings import Settings
from sora_pipeline.uris import Uri, absolute_uri, shown_uri, why_no_output

MAX_NAME_CHARS = 60
NAME_RULE = f"up to {MAX_NAME_CHARS} letters, digits, - and _, beginning with a letter or digit"
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{MAX_NAME_CHARS - 1}}}", re.ASCII)


class ProductionNameError(SoraPipelineError):
    """Raised where it is not clear, or not allowed, which production is meant."""


@dataclass(frozen=True, slots=True)
class ProductionRequest:
    """What somebody asks to be produced; empty: not said.

    Attributes:
        manifest: The file.
        name: The production.
        output: Where its videos and tables go.
        budget_usd: What it may cost.
    """

    manifest: Uri
    name: str = ""
    output: str = ""
    budget_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """Which production is meant.

    Attributes:
        plan: What it is to be.
        amends: Whether the file only amends rows of it.
        known: The production, where there is one of this name.
    """

    plan: Plan
    amends: bool
    known: Production | None


def decide(
    ledger: Ledger, settings: Settings, pipeline: str, request: ProductionRequest, file: ManifestFile
) -> Decided:
    """Which production a manifest is for.

    Raises:
        ProductionNameError: the name or the output is not allowed, or the name is that of a production with another manifest, or of another
            pipeline's; or mended rows are to go elsewhere than their production.
    """
    amended = _amended(ledger, pipeline, request, file)
    name = amended.production_id if amended else request.name or _name_of(ledger, pipeline, file.uri)
    if not is_name(name):
        raise ProductionNameError(f"{name!r} cannot be the name of a production; allowed: {NAME_RULE}")
    known = amended or ledger.productions.find(name)
    if known and known.pipeline != pipeline:
        raise ProductionNameError(
            f"the production {name} belongs to {_shown(known.pipeline)} in this ledger, not to {_shown(pipeline)}; give this "
            "one another name"
        )
    if known and known.manifest_uri != file.uri and not (request.name or amended):
        raise ProductionNameError(
            f"the production {name} is made from {known.manifest_uri}, and this is {file.uri}",
            "manifest_moved",
            production=name,
        )
    if request.output and (problem := why_no_output(request.output)) is not None:
        raise ProductionNameError(f"the output {shown_uri(request.output)} {problem}")
    output = absolute_uri(request.output).rstrip("/") if request.output else known.output_uri if known else ""
    if amended and output != amended.output_uri:
        raise ProductionNameError(
            f"{file.uri} amends rows of the production {name}, whose videos go to {amended.output_uri}, not to {output}",
            "amends_elsewhere",
        )
    plan = Plan(
        production_id=name,
        pipeline=pipeline,
        manifest_uri=known.manifest_uri if known and amended else file.uri,
        output_uri=output or default_output(settings, name).rstrip("/"),
        account=account_of(settings),
        budget_usd=settings.budget_usd if request.budget_usd is None else request.budget_usd,
        budget_given=request.budget_usd is not None,
        named=bool(request.name) and not amended,
    )
    return Decided(plan, amended is not None, known)


def default_output(settings: Settings, name: str) -> str:
    """Where a production goes that nobody gave an output: a folder of its own below ``SORA_OUTPUT``."""
    return f"{settings.output.rstrip('/')}/{name}"


def is_name(text: str) -> bool:
    """Whether a production can be called so."""
    return _NAME.fullmatch(text) is not None


def name_of_file(uri: str, pipeline: str = "") -> str:
    """The name of a manifest's production: the file's stem (and sheet), in a pipeline with a name behind that."""
    workbook, sheet = split_sheet(uri)
    file = file_name(workbook)
    written = f"{file.rpartition('.')[0] or file} {sheet or ''}"
    stem = re.sub(r"[^A-Za-z0-9_]+", "-", written).strip("-_")
    # Of an alphabet of its own: another such file is another production.
    if not stem and any(map(str.isalnum, written)):
        stem = f"production-{hashlib.sha256(written.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
    parts = [pipeline] if stem == pipeline else [pipeline, stem]
    return "-".join(filter(None, parts))[:MAX_NAME_CHARS].strip("-_") or "production"


def _shown(pipeline: str) -> str:
    return f"the pipeline {pipeline}" if pipeline else "the built-in pipeline"


def _amended(
    ledger: Ledger, pipeline: str, request: ProductionRequest, file: ManifestFile
) -> Production | None:
    """The production whose rows a file mends: a ``failed.csv``, wherever it was saved, names it in every row."""
    known = ledger.productions.find(next(iter(file.productions))) if len(file.productions) == 1 else None
    if known is not None and known.manifest_uri == file.uri:
        return None
    if known is None or known.pipeline != pipeline or request.name not in ("", known.production_id):
        if file.is_report and file.productions:
            _refuse_to_begin_with_report(ledger, pipeline, request, file)
        return None
    return known


def _refuse_to_begin_with_report(
    ledger: Ledger, pipeline: str, request: ProductionRequest, file: ManifestFile
) -> None:
    """Refuse a ``failed.csv`` of elsewhere that nobody gave a name, or that would take a campaign's place."""
    if request.name:
        named = ledger.productions.find(request.name)
        allowed = named is None or named.manifest_uri == file.uri
    else:
        allowed = bool(ledger.productions.of_manifest(file.uri, pipeline))
    if not allowed:
        names = ", ".join(sorted(file.productions))
        target = f"not of {request.name}" if request.name else "and none that this ledger can amend with them"
        raise ProductionNameError(
            f"the rows of {file.uri} are of the production {names} (column production), {target} "
            f"({ledger.database.shown_url})",
            "report_of_another",
        )


def _name_of(ledger: Ledger, pipeline: str, uri: str) -> str:
    """The production that was made from this file before, or else the file's own name."""
    before = ledger.productions.of_manifest(uri, pipeline)
    if len(before) > 1:
        names = ", ".join(production.production_id for production in before)
        raise ProductionNameError(
            f"{uri} is the manifest of several productions ({names})", "several_productions"
        )
    return before[0].production_id if before else name_of_file(uri, pipeline)
