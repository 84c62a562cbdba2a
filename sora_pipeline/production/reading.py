"""Takes a manifest in: reads and checks it, keeps its canonical snapshot, and tells the ledger what is wanted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sora_pipeline.clip import Clip, Size
from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.manifest.canonical import load_snapshot
from sora_pipeline.manifest.images import ImageFinding
from sora_pipeline.manifest.snapshot import Snapshot
from sora_pipeline.manifest.snapshot_parquet import snapshot_to_parquet
from sora_pipeline.media.fit import ImageFit
from sora_pipeline.media.images import ImageProblem
from sora_pipeline.production.context import image_cache
from sora_pipeline.production.costs import cost_usd
from sora_pipeline.provider.catalogue import Catalogue
from sora_pipeline.settings import Settings, SettingsProblem
from sora_pipeline.store import OutputStore


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a manifest's clips would cost, by the catalogue.

    Attributes:
        total_usd: All valid clips.
        costs_to_pay: What each costs that is not delivered or in flight already, in US dollars, in the manifest's order.
    """

    total_usd: Decimal
    costs_to_pay: Sequence[Decimal]

    @property
    def to_pay_usd(self) -> Decimal:
        """What is still to be paid."""
        return sum(self.costs_to_pay, Decimal(0))

    @property
    def clips_to_pay(self) -> int:
        """How many clips are still to be paid."""
        return len(self.costs_to_pay)

    def fitting(self, *left: Decimal | None) -> int:
        """How many of the clips to pay fit amounts of US dollars that are left; None: no limit."""
        limits = [amount for amount in left if amount is not None]
        fits, taken = 0, Decimal(0)
        for cost in self.costs_to_pay:
            if all(taken + cost <= amount for amount in limits):
                fits, taken = fits + 1, taken + cost
        return fits


def read_snapshot(uri: str, settings: Settings, catalogue: Catalogue) -> Snapshot:
    """Read and check a manifest; costs nothing and writes nothing.

    Raises:
        ManifestProblem: the file as a whole cannot be used.
        SettingsProblem: the provider does not reach the default model.
    """
    reached = (
        model for name in catalogue.names if settings.provider in (model := catalogue.model(name)).formats
    )
    limits = {model.name: model for model in reached}
    if settings.model not in limits:
        raise SettingsProblem(
            f"SORA_MODEL={settings.model} is not a model that SORA_PROVIDER={settings.provider} reaches; allowed: "
            f"{', '.join(limits) or 'none'}. Choose one of them, or add yours in a file named by SORA_CATALOGUE"
        )
    images = image_cache(settings)
    fit = ImageFit(settings.image_fit)

    def check(image: str, size: Size) -> ImageFinding:
        try:
            return ImageFinding(sha256=images.get(image, size, fit).original_sha256)
        except ImageProblem as problem:
            return ImageFinding(problem=problem.message)

    return load_snapshot(
        uri,
        limits=limits,
        default_model=settings.model,
        provider=settings.provider,
        image_check=check,
    )


def estimate(clips: tuple[Clip, ...], ledger: Ledger, catalogue: Catalogue) -> Estimate:
    """What clips cost, and how much of that is still to be paid."""
    standings = ledger.clips.standings(clip.clip_id for clip in clips)
    total = Decimal(0)
    to_pay: list[Decimal] = []
    for clip in clips:
        cost = cost_usd(clip, catalogue)
        total += cost
        standing = standings.get(clip.clip_id)
        paid = standing is not None and any(
            attempt is not None and attempt.fingerprint == clip.fingerprint and attempt.state != "failed"
            for attempt in (standing.delivered, standing.latest)
        )
        if not paid:
            to_pay.append(cost)
    return Estimate(total, to_pay)


def register(
    snapshot: Snapshot,
    output_uri: str,
    budget_usd: Decimal | None,
    ledger: Ledger,
    began_at: datetime | None = None,
) -> Production:
    """Keep the snapshot in the output, and make its clips what the ledger wants.

    Args:
        snapshot: The checked manifest.
        output_uri: Where its videos go.
        budget_usd: US dollars it may cost; None: no limit.
        ledger: The ledger.
        began_at: When reading it began.

    Raises:
        StoreProblem: the output cannot be written.
    """
    path = f".snapshots/{snapshot.snapshot_sha256[:24]}.parquet"
    OutputStore(output_uri).replace_bytes(path, snapshot_to_parquet(snapshot))
    return ledger.productions.record_snapshot(
        snapshot.manifest_uri,
        output_uri,
        snapshot_path=path,
        manifest_sha256=snapshot.manifest_sha256,
        snapshot_sha256=snapshot.snapshot_sha256,
        budget_usd=budget_usd,
        wanted=snapshot.clips,
        began_at=began_at,
    )
