"""How a manifest was understood, as people are told of it: what was guessed, and what it does that could be overlooked."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sora_pipeline.amounts import counted
from sora_pipeline.manifest.limits import DEFAULT_DURATION, DEFAULT_SIZE
from sora_pipeline.manifest.problems import shown

_INSTEAD = {
    "duration": f", and every clip is {DEFAULT_DURATION} s long",
    "size": f", and every clip is {DEFAULT_SIZE}",
}
"""What follows where the column that was probably meant is not there."""


@dataclass(frozen=True, slots=True)
class Understanding:
    """How a manifest was understood.

    Attributes:
        written: How the file is written: ``CSV with semicolons``, ``Windows-1252``.
        columns: The names of columns that mean input columns, and those that they mean.
        decimal_commas: Whether numbers are written like ``8,0``.
        parameters: The columns that set parameters of models.
        lookalikes: The names of columns that are carried through and probably mean input columns that are not there, and these.
        notes: What the file holds that people could overlook, a sentence each.
        kept_braces: How many prompts have braces that are not filled, since their clips were asked for like that before.
    """

    written: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    decimal_commas: bool = False
    parameters: tuple[str, ...] = ()
    lookalikes: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    kept_braces: int = 0

    @property
    def sentences(self) -> list[str]:
        """For people."""
        sentences = []
        how = [*self.written[:1], *(["decimal commas"] if self.decimal_commas else []), *self.written[1:]]
        columns = ", ".join(f"{name} → {meant}" for name, meant in self.columns.items())
        if how or columns:
            parts = [", ".join(how), f"columns {columns}" if columns else ""]
            sentences.append(f"read {'as' if self.written else 'with'} {'; '.join(filter(None, parts))}")
        if self.parameters:
            sentences.append(f"sent to the model as its parameters: {', '.join(self.parameters)}")
        sentences += [
            f'the column "{shown(name)}" is carried through as it is{_INSTEAD.get(meant, "")}; did you mean "{meant}"?'
            for name, meant in self.lookalikes.items()
            if name not in self.parameters
        ]
        sentences += self.notes
        if self.kept_braces:
            sentences.append(
                f"{counted(self.kept_braces, 'prompt has', 'prompts have')} braces that are left as they are, since that was asked "
                "for before; a prompt that is changed is filled"
            )
        return sentences


NOTHING_GUESSED = Understanding()
