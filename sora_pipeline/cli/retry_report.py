"""What ``sora-pipeline retry`` says: what is done about each clip, and what a person may do about the others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sora_pipeline.advice import explained
from sora_pipeline.amounts import counted, usd
from sora_pipeline.cli.money import Price, shortfall
from sora_pipeline.cli.output import BUILT_IN, console, note
from sora_pipeline.cli.picks import PickedAgain
from sora_pipeline.cli.productions import goes_on
from sora_pipeline.clip import split_clip_key
from sora_pipeline.errors import Reason

if TYPE_CHECKING:
    from sora_pipeline.ledger import Attempt, Ledger, Production
    from sora_pipeline.production.retrying import Retried
    from sora_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class RetryReport:
    """What a retry has done, or would do.

    Attributes:
        ledger: The ledger.
        settings: The settings.
        productions: Those that were meant.
        retried: What becomes of each clip.
        price: Of those that begin anew.
        picked: Clips of the gallery's picks that are made anew, and what that costs.
        dry_run: Whether nothing was changed.
    """

    ledger: "Ledger"
    settings: "Settings"
    productions: "Sequence[Production]"
    retried: "Retried"
    price: Price
    picked: PickedAgain
    dry_run: bool

    @property
    def would(self) -> str:
        """What stands before what others do, or would do."""
        return "would be " if self.dry_run else "to be "

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        retried = self.retried
        return {
            "dry_run": self.dry_run,
            "submitted_again": retried.anew,
            "usd": float(self.price.usd),
            "simulated": self.price.simulated,
            "fetched_again": retried.fetched,
            "still_rendering": list(retried.rendering),
            "given_up": {key: float(attempt.cost_usd) for key, attempt in retried.given_up.items()},
            "held": retried.held,
            "held_elsewhere": retried.elsewhere,
            "cancelled": retried.cancelled,
            "need_nothing": retried.fine,
            "changed": retried.changed,
            "uncancelled": retried.uncancelled,
            "unknown": retried.unknown,
            "made_anew": self.picked.keys,
            "made_anew_usd": self.picked.usd,
        }

    def say(self, *, named: bool) -> None:
        """For people.

        Args:
            named: Whether clips were named: then also of those that need nothing.
        """
        retried, picked = self.retried, self.picked
        if picked.keys:
            console.print(f"{self.would}made anew, for {picked.price}: {', '.join(picked.keys)}")
        for key in retried.uncancelled:
            note(
                f"{key} is cancelled no more: it is at the provider, and is begun again should that come to nothing"
            )
        for key in [each for each in retried.fine if each not in retried.uncancelled] if named else []:
            note(f"{key} needs no retry: it is delivered, pending or under way")
        for key in retried.changed:
            note(f"{key} has changed while this was decided, and nothing was done about it: ask once more")
        self._say_what_waits()
        for key, attempt in {} if self.dry_run else retried.given_up.items():
            note(
                f"{key}: the prediction {attempt.submission.prediction_id or '(its id is not known)'} is given up; its "
                f"{self._cost(key, attempt)} stays spent"
            )
        if retried.fetched:
            console.print(f"{self.would}fetched again, at no cost: {', '.join(retried.fetched)}")
        if retried.anew:
            console.print(f"{self.would}{retried.submitted}, for {self.price}: {', '.join(retried.anew)}")
        at_work = dict.fromkeys(
            split_clip_key(key)[0] for key in (*picked.keys, *retried.anew, *retried.fetched)
        )
        if not at_work:
            if not retried.unknown and not retried.changed:
                console.print("nothing to retry")
        elif not self.dry_run:
            self._say_what_follows(at_work)

    def _say_what_waits(self) -> None:
        """Clips that stay as they are until a person says more, or somebody else has ended."""
        for key in self.retried.held:
            sentence = f"{key} is held: its submit lost its answer and may have been billed"
            note(explained(Reason(sentence, "ambiguous", _clip(key))))
        for key, account in self.retried.elsewhere.items():
            sentence = (
                f"{key} is held: it was submitted to the account {account}, which its production is no longer made by, and nobody "
                "has asked for it until its deadline"
            )
            note(explained(Reason(sentence, "held_elsewhere", _clip(key))))
        for chosen in self.productions:
            self._say_what_waits_of(chosen.production_id)
        for key, attempt in self.retried.rendering.items():
            accepted = attempt.submission.accepted_at
            since = f" since {accepted:%d %b %H:%M} UTC" if accepted else ""
            sentence = f"{key}: the provider says that it still renders it{since}; it is waited for once more, at no cost"
            facts = {**_clip(key), "price": self._cost(key, attempt)}
            note(explained(Reason(sentence, "still_rendering", facts)))

    def _say_what_waits_of(self, name: str) -> None:
        from sora_pipeline.production.progress import open_elsewhere, why_left_open

        if cancelled := [key for key in self.retried.cancelled if split_clip_key(key)[0] == name]:
            were = counted(len(cancelled), "clip was", "clips were")
            sentence = f"of {name}, {were} cancelled, and left so"
            note(explained(Reason(sentence, "cancelled_clips", {"production": name})))
        for elsewhere, count in open_elsewhere(self.ledger, self.settings, name).items():
            note(f"{name}: {explained(why_left_open(elsewhere, count))}")

    def _say_what_follows(self, production_ids: "Iterable[str]") -> None:
        """Who does what was just asked for, and why it is not submitted all the same: a pause, a budget, a breaker."""
        from sora_pipeline.production.progress import progress_of
        from sora_pipeline.provider.catalogue import load_catalogue

        catalogue = load_catalogue(self.settings.catalogue)
        for name in production_ids:
            production = self.ledger.productions.get(name)
            if production.pipeline == BUILT_IN:
                console.print(f"{name}: {goes_on(self.ledger, production)}")
            else:
                console.print(f"{name}: the daemon of the pipeline {production.pipeline} does that by itself")
            look = progress_of(self.ledger, production, self.settings, catalogue)
            if look.stopped:
                note(explained(look.stopped))
            elif missing := shortfall(look):
                note(missing)

    def _cost(self, key: str, attempt: "Attempt") -> str:
        """What an attempt has cost."""
        production = self.ledger.productions.get(split_clip_key(key)[0])
        return usd(attempt.cost_usd, simulated=production.simulated)


def _clip(key: str) -> dict[str, str]:
    """What the advice for one clip names."""
    production_id, clip_id = split_clip_key(key)
    return {"production": production_id, "clip": clip_id}
