"""The stage graph: what a stage declares (`StageSpec`), and the stages of one run, each with its parents (`Stage`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from trialigngr.datasets.remote import DataSource
from trialigngr.foundation.artifact import (
    Manifest,
    StageStatus,
    compute_fingerprint,
    make_stage,
    read_manifest,
    read_stage_status,
)
from trialigngr.foundation.config import Settings
from trialigngr.foundation.shared_stages import find_finished_stage, link_stage
from trialigngr.recipes.recipe import Recipe
from trialigngr.report.page import PipelineStep
from trialigngr.runs.artifacts import RunArtifacts

if TYPE_CHECKING:
    from trialigngr.pipeline.llm_stage import LlmStage
    from trialigngr.train.process_group import ProcessGroup

Facts = dict[str, Any]
HashOutput = Callable[[Path], str]
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class StageContext:
    """What stages are built from: a recipe, a data folder or its address (None: the drawn shop), and what earlier
    stages made."""

    recipe: Recipe
    data: DataSource | None
    artifacts: RunArtifacts
    workers: ProcessGroup | None = None
    """Processes that train together; None where this one is alone."""
    shares_stages: bool = False
    """Whether stages that runs beside this one have finished are linked instead of made."""

    @property
    def run_folder(self) -> Path:
        """The run."""
        return self.artifacts.run_folder


class CheckStage(Protocol):
    """Raises a sentence when a stage cannot work."""

    def __call__(self, recipe: Recipe, *, loads_models_here: bool, ask: bool) -> None:
        """``loads_models_here`` is False where workers elsewhere load the models, ``ask`` before whoever runs this has
        agreed that servers are asked anything."""


@dataclass(frozen=True)
class StageSpec:
    """A stage as its file in ``pipeline/stages/`` declares it; order, run, plan and page are made from these alone.

    Heavy libraries are imported in ``build``, so that ``show`` and ``plan`` load none.
    """

    name: str
    settings: Callable[[StageContext], Settings]
    """What of the recipe it depends on."""
    build: Callable[[StageContext, Path], Facts]
    """Writes the stage's files into a folder and returns its facts. What an interrupted build left lies there."""
    needs: Callable[[StageContext], Sequence[str]]
    """The stages that it is made from."""
    is_wanted: Callable[[StageContext], bool] = lambda context: True
    """Whether a run has it."""
    hash_inputs: Callable[[StageContext], Mapping[str, str]] = lambda context: NOTHING
    """Hashes of what it is made from beside stages: a data folder, what a language model is told."""
    hash_output: HashOutput | None = None
    """What later stages read of it, as a hash, where that is less than all of its files."""
    one_per_seed: bool = False
    """Whether each seed has its own."""
    runs_last: bool = False
    """Whether it waits for all stages that do not, unless one of those needs it."""
    is_shareable: bool = True
    """Whether runs that stand side by side may share its folder; False where that names places outside of it."""
    check: CheckStage | None = None
    """Raises a sentence where the stage cannot work, before anything is made or paid for."""
    check_data: Callable[[StageContext], None] = lambda context: None
    """Raises a sentence where the data lacks what the stage needs, as soon as the catalogue is made."""
    llm: Callable[[Recipe], LlmStage] | None = None
    """Of a stage that may ask a language model: which, and about what."""
    cost_line: Callable[[Recipe], str] = lambda recipe: ""
    """What `plan` says of it."""
    fact_lines: Callable[[Recipe, Facts], Sequence[PipelineStep]] = lambda recipe, facts: ()
    """What the page's picture says of it, a box a line."""


def need(*names: str) -> Callable[[StageContext], Sequence[str]]:
    """Return the ``needs`` of a stage that is made from the same stages in every run."""
    return lambda context: names


@dataclass(frozen=True)
class Stage:
    """A stage of a run: ``folder`` is where it stands, ``inputs`` the hashes of what it is made from beside stages,
    ``parents`` those stages."""

    spec: StageSpec
    folder: Path
    settings: Settings
    inputs: Mapping[str, str]
    parents: tuple[Stage, ...]
    context: StageContext = field(repr=False)

    @property
    def name(self) -> str:
        """Its name, and that of its folder."""
        return self.spec.name

    @cached_property
    def made_from(self) -> dict[str, str]:
        """Name → fingerprint, of parents and inputs."""
        return {stage.name: stage.fingerprint for stage in self.parents} | dict(self.inputs)

    @cached_property
    def fingerprint(self) -> str:
        """What the stage's manifest will carry."""
        return compute_fingerprint(self.name, self.settings.model_dump(mode="json"), self.made_from)

    def read_status(self) -> StageStatus:
        """Return whether the stage is ``done``, ``begun``, ``changed`` (something else stands there) or ``to do``; or
        that it ``depends`` on how stages come out that are to be made before it."""
        known = all(stage.read_status() == "done" for stage in self.parents)
        return read_stage_status(self.folder, self.fingerprint, self._parent_contents() if known else None)

    def make_if_stale(self, *, rebuild: bool = False) -> Manifest:
        """Build the stage unless what stands there is what is wanted, made from what its parents now hold.

        A run beside this one that has the same stage shares it. ``rebuild`` builds it though it stands. Only when later
        stages then read something else are they made anew.
        """
        shared = None if rebuild or self.read_status() == "done" else self.find_shared()
        if shared and (manifest := link_stage(shared, self.folder)):
            return manifest
        return make_stage(
            self.folder,
            self.name,
            self.settings,
            self.made_from,
            lambda out: self.spec.build(self.context, out),
            self._parent_contents(),
            self.spec.hash_output,
            rebuild,
        )

    def find_shared(self) -> Path | None:
        """Return the folder of the same stage, finished, in a run beside this one; None too where that is not known
        before its parents are made."""
        if not (self.spec.is_shareable and self.context.shares_stages):
            return None
        contents = {stage.name: content for stage in self.parents if (content := stage._find_content())}
        if len(contents) < len(self.parents):
            return None
        run = self.context.run_folder
        return find_finished_stage(run, self.folder.relative_to(run), self.fingerprint, contents)

    def _find_content(self) -> str | None:
        """Return what the stage holds, or will hold once it is shared."""
        folder = self.folder if self.read_status() == "done" else self.find_shared()
        return read_manifest(folder).content if folder else None

    def list_ancestors(self) -> set[str]:
        """Return the names of all stages that it is made from."""
        return {stage.name for stage in self.parents}.union(*(stage.list_ancestors() for stage in self.parents))

    def _parent_contents(self) -> dict[str, str]:
        return {stage.name: read_manifest(stage.folder).content for stage in self.parents}


def build_graph(specs: Iterable[StageSpec], context: StageContext) -> list[Stage]:
    """Return the stages of a run, each after those it is made from. Nothing is built here."""
    stages: dict[str, Stage] = {}
    for spec in sort_wanted_specs(specs, context):
        home = context.artifacts.seed_folder if spec.one_per_seed else context.run_folder
        stages[spec.name] = Stage(
            spec,
            home / spec.name,
            spec.settings(context),
            spec.hash_inputs(context),
            tuple(stages[name] for name in spec.needs(context)),
            context,
        )
    return list(stages.values())


def sort_wanted_specs(specs: Iterable[StageSpec], context: StageContext) -> list[StageSpec]:
    """Return the stages that a run has, each after those it needs; where that leaves a choice, by name, those that run
    last behind all others."""
    every: dict[str, StageSpec] = {}
    for spec in specs:
        if spec.name in every:
            raise ValueError(f"two stages are called {spec.name}")
        every[spec.name] = spec
    by_name, open_names = dict[str, StageSpec](), [name for name, spec in every.items() if spec.is_wanted(context)]
    while open_names:  # what is needed is wanted too
        name = open_names.pop()
        if name not in by_name:
            by_name[name] = every[name]
            open_names += every[name].needs(context)
    sorter = TopologicalSorter({name: spec.needs(context) for name, spec in by_name.items()})
    sorter.prepare()
    awaited = {name for spec in by_name.values() if not spec.runs_last for name in spec.needs(context)}
    order, ready = list[StageSpec](), set[str]()
    while sorter.is_active():
        ready.update(sorter.get_ready())
        first = min(ready, key=lambda name: (by_name[name].runs_last and name not in awaited, name))
        ready.remove(first)
        sorter.done(first)
        order.append(by_name[first])
    return order
