"""The pipeline as a Dagster Component: what ``VideoPipeline`` is in Python, ``defs.yaml`` is here."""

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import dagster as dg
from pydantic import SecretStr

from sora_pipeline.components.fields import ATTRIBUTES, settings_model
from sora_pipeline.names import PipelineError
from sora_pipeline.pipeline import VideoPipeline

if TYPE_CHECKING:
    SettingsFields = dg.Model
else:
    SettingsFields = settings_model()

_EXECUTORS = {"in_process": dg.in_process_executor, "multiprocess": dg.multiprocess_executor}


class VideoProductionScaffolder(dg.Scaffolder[Any]):
    """Writes a ``defs.yaml`` that loads at once and costs nothing: the sandbox is its provider."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write it, with the folder's name as the pipeline's."""
        name = re.sub(r"\W+", "_", request.target_path.name).strip("_").lstrip("0123456789_") or "videos"
        attributes = {
            "name": name,
            "manifest": f"{{{{ context.project_root }}}}/{name}.csv",
            "output": f"{{{{ context.project_root }}}}/output/{name}",
            "provider": "sandbox",
        }
        dg.scaffold_component(request, attributes)


@dg.scaffold_with(VideoProductionScaffolder)
class VideoProduction(dg.Component, SettingsFields, dg.Resolvable):
    """A manifest of prompts becomes checked videos: assets, partitions, jobs, sensors, a schedule and checks.

    Every setting of the package is an attribute; what is left out comes from the environment (`SORA_…`), or is the
    default. An attribute that is written down and empty, as a template of a variable that is not set, is refused: the
    environment's key must not pay for what was to have its own.
    """

    pipeline_class: ClassVar[type[VideoPipeline]] = VideoPipeline
    """A subclass with options of its own for the assets, in a subclass of this."""

    name: Annotated[
        str,
        dg.Resolver.default(
            description="Begins the names of jobs, sensors, schedule and partitions: letters, digits and underscores."
        ),
    ] = ""
    key_prefix: Annotated[
        str | list[str] | None,
        dg.Resolver.default(description="Of the asset keys; left out: the name."),
    ] = None
    group_name: Annotated[
        str | None, dg.Resolver.default(description="Of the assets; left out: the name.")
    ] = None
    owners: Annotated[
        list[str] | None,
        dg.Resolver.default(description="Of the assets: `team:name` or e-mail addresses."),
    ] = None
    tags: Annotated[dict[str, str] | None, dg.Resolver.default(description="Of the assets.")] = None
    production: Annotated[
        str | None,
        dg.Resolver.default(
            description="Name of the production that the manifest belongs to; left out: the manifest's file stem."
        ),
    ] = None
    executor: Annotated[
        Literal["in_process", "multiprocess"],
        dg.Resolver.default(description="Of the pipeline's own jobs; those of the project keep theirs."),
    ] = "in_process"

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The definitions of the pipeline.

        Raises:
            PipelineError: an attribute that is empty or cannot be, or a name that another one has; one sentence.
            SettingsError: a setting with a value that cannot be used.
        """
        names = [peer.name for peer in context.component_tree.get_all_components(VideoProduction)]
        if names.count(self.name) > 1:
            raise PipelineError(
                f"two VideoProduction components have the name {self.name!r}; each needs one of its own"
            )
        return self.pipeline_class(**self._arguments()).definitions()

    def _arguments(self) -> dict[str, Any]:
        """What was written down, as the pipeline takes it."""
        settings = {attribute: name for name, attribute in ATTRIBUTES.items()}
        given = {settings.get(name, name): getattr(self, name) for name in sorted(self.model_fields_set)}
        for name, value in given.items():
            bare = value.get_secret_value() if isinstance(value, SecretStr) else value
            if bare in (None, ""):
                raise PipelineError(
                    f"{name} of the Component {self.name or 'VideoProduction'} is written down, but is empty: set the "
                    "variable that its template names, or leave the attribute out"
                )
        return given | {"executor": _EXECUTORS[self.executor]}
