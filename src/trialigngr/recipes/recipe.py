"""`Recipe`: every stage's settings in one frozen tree; TOML files with ``extends``; ``--set a.b=v``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import Field, field_validator
from pydantic.fields import FieldInfo

from trialigngr.catalog.settings import CatalogSettings
from trialigngr.datasets.synthetic.settings import ShopSettings
from trialigngr.decode.settings import DecodeSettings
from trialigngr.embed.settings import EmbedSettings
from trialigngr.enrich.settings import CallSettings, CaptionSettings, InterestSettings
from trialigngr.evaluate.settings import EvaluateSettings
from trialigngr.foundation.config import Settings, parse_settings
from trialigngr.foundation.errors import ArgumentError, RecipeError, did_you_mean
from trialigngr.foundation.executor import RaySettings
from trialigngr.models.settings import BackboneSettings
from trialigngr.sids.settings import SidSettings
from trialigngr.systems.registry import GENERATOR, GENERATORS, SYSTEMS, check_system_names
from trialigngr.systems.settings import PriorSettings
from trialigngr.systems.spec import SystemSpec
from trialigngr.tasks.settings import PromptSettings, TaskSettings
from trialigngr.train.phases import PHASES, PhaseSpec, find_phases
from trialigngr.train.settings import TrainSettings

RESERVED_NAMES = frozenset({"data", "evaluation", "seeds", "appended", "images", "withdrawn", "extends", "popular"})
"""What stands in a run's folder, or a recipe, beside sections."""
_PLAIN_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Recipe(Settings):
    """The settings of every stage."""

    description: str = ""
    """One sentence for `trialigngr show`."""
    seed: int = 0
    """Root of every random choice in training."""
    shop: ShopSettings = Field(default_factory=ShopSettings)
    """The shop that is drawn when no data folder is given."""
    catalog: CatalogSettings = Field(default_factory=CatalogSettings)
    """Reading, k-core and split."""
    captions: CaptionSettings = Field(default_factory=CaptionSettings)
    """CMSA: what the pictures show, in words."""
    interests: InterestSettings = Field(default_factory=InterestSettings)
    """MDIM: the interests behind the items."""
    calls: CallSettings = Field(default_factory=CallSettings)
    """How pictures are fetched and language models are called; nothing of it changes an artifact."""
    ray: RaySettings = Field(default_factory=RaySettings)
    """A Ray cluster that works on blocks of items; nothing of it changes an artifact."""
    embeddings: EmbedSettings = Field(default_factory=EmbedSettings)
    """Text and pixels as one vector."""
    sids: SidSettings = Field(default_factory=SidSettings)
    """Vectors as Semantic IDs."""
    tasks: TaskSettings = Field(default_factory=TaskSettings)
    """TMT: the tasks and their mixture."""
    prompt: PromptSettings = Field(default_factory=PromptSettings)
    """What a prompt shows."""
    model: BackboneSettings = Field(default_factory=BackboneSettings)
    """The language model."""
    train: TrainSettings = Field(default_factory=TrainSettings)
    """The training loop."""
    phases: tuple[str, ...] = ("sft",)
    """What the language model goes through, one after the other: ``sft`` trains it on the tasks, ``dpo`` goes on from
    there with preferences. Each is a stage of its own; what is tested and recommends is the model of the last."""
    decode: DecodeSettings = Field(default_factory=DecodeSettings)
    """Beam search."""
    prior: PriorSettings = Field(default_factory=PriorSettings)
    """What else is known of the items, mixed in at beam search. No model is trained anew for it."""
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings)
    """The test."""

    @field_validator("evaluate")
    @classmethod
    def _check_systems(cls, evaluate: EvaluateSettings) -> EvaluateSettings:
        check_system_names(evaluate.list_systems())
        return evaluate

    @field_validator("prior")
    @classmethod
    def _check_prior(cls, prior: PriorSettings) -> PriorSettings:
        if prior.system in GENERATORS:
            raise RecipeError(f"prior.system = {prior.system}: the generator cannot be its own prior.")
        check_system_names([prior.system] if prior.system else [])
        return prior

    @field_validator("phases")
    @classmethod
    def _check_phases(cls, phases: tuple[str, ...]) -> tuple[str, ...]:
        find_phases(phases)
        return phases

    def get_system_settings(self, name: str) -> Any:
        """Return the section of a system of the registry; None where it has no settings."""
        kind = SYSTEMS[name].settings
        # A recipe may be older than a system that was registered since.
        return None if kind is None else getattr(self, name, None) or kind()

    @property
    def has_generator(self) -> bool:
        """Whether a language model is trained."""
        return not {*GENERATORS}.isdisjoint(self.evaluate.list_systems())

    @property
    def shown_sids_stage(self) -> str | None:
        """The stage of the SIDs that stand beside items: the run's, or those of the head; None where there are none."""
        if self.has_generator or any("sids" in SYSTEMS[name].needs for name in self.evaluate.list_systems()):
            return "sids"
        head = SYSTEMS[self.evaluate.head]
        return head.sids_stage if head.writes_sids else None

    @property
    def model_stage(self) -> str:
        """The stage of the last phase: its model is tested and recommends."""
        return find_phases(self.phases)[-1].stage

    def list_system_stages(self, name: str) -> tuple[str, ...]:
        """Return the stages that a system is loaded from: its own, or that of the model and of its prior."""
        if name not in GENERATORS:
            return (name,)
        has_prior = name == GENERATOR and self.prior.has_say
        return (self.model_stage, self.prior.system) if has_prior else (self.model_stage,)

    def to_toml(self) -> str:
        """Return the whole recipe as TOML that `read_recipe` reads back to an equal one."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def register_system(spec: SystemSpec) -> None:
    """Put a system into the registry, and its settings into every recipe as a section of its name.

    One of the same name is replaced. An installed package does so by an entry point of the group
    ``trialigngr.systems`` that names its spec. Raises `RecipeError` for a name that is taken otherwise.
    """
    if not isinstance(spec, SystemSpec):
        raise ArgumentError(f"A {type(spec).__name__} is no system; give a SystemSpec.")
    if spec.name in GENERATORS or spec.fit is None:
        raise RecipeError(f"The system {spec.name!r} cannot be registered: it is fitted by nothing of its own.")
    if spec.name not in SYSTEMS:
        _check_new_name(spec.name)
    SYSTEMS[spec.name] = spec
    _add_sections([spec])


def register_phase(spec: PhaseSpec) -> None:
    """Put a phase into the registry, and its settings into every recipe as a section of its name; raise as
    `register_system` does."""
    if spec.name not in PHASES:
        for name in {spec.name, spec.stage}:
            _check_new_name(name)
    PHASES[spec.name] = spec
    _add_sections([spec])


def _check_new_name(name: str) -> None:
    """Raise `RecipeError` for what cannot name a section of a recipe, a stage and its folder, or names one already."""
    taken = {*Recipe.model_fields, *SYSTEMS, *PHASES, *RESERVED_NAMES}
    if not _PLAIN_NAME.fullmatch(name) or name in taken or hasattr(Recipe, name):
        raise RecipeError(
            f"{name!r} cannot be the name of a system or a phase: it is a word of small letters, digits and _ that "
            "names no section of a recipe and nothing else in a run's folder."
        )


def _add_sections(specs: Iterable[SystemSpec | PhaseSpec]) -> None:
    for spec in specs:
        if (kind := spec.settings) is not None:
            section = FieldInfo(annotation=kind, default_factory=kind, description=kind.__doc__)
            Recipe.__pydantic_fields__[spec.name] = section
    Recipe.model_rebuild(force=True)


_add_sections((*SYSTEMS.values(), *PHASES.values()))


def read_packaged_recipes() -> dict[str, str]:
    """Return name → TOML text of the recipes in the package."""
    folder = files("trialigngr.recipes")
    found = {entry.name.removesuffix(".toml"): entry for entry in folder.iterdir() if entry.name.endswith(".toml")}
    return {name: found[name].read_text(encoding="utf-8") for name in sorted(found)}


def _find_recipe(name: str, base_folder: Path | None) -> tuple[str, str, Path | None]:
    """Return where a recipe stands, its text and its folder: a file (path ending in .toml) or a packaged name."""
    if name.endswith(".toml"):
        path = base_folder / name if base_folder is not None and not Path(name).is_absolute() else Path(name)
        if not path.is_file():
            raise RecipeError(f"There is no recipe file {path}.")
        try:
            return str(path), path.read_text(encoding="utf-8"), path.parent
        except UnicodeDecodeError:
            raise RecipeError(f"{path} is not UTF-8 text; a recipe is a TOML file.") from None
    packaged = read_packaged_recipes()
    if name not in packaged:
        hint = did_you_mean(name, packaged)
        raise RecipeError(f"There is no recipe {name!r}; known are {', '.join(packaged)}, or give a .toml file.{hint}")
    return f"recipe {name}", packaged[name], None


def _merge_settings(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in change.items():
        inner = result.get(key)
        result[key] = _merge_settings(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


def _read_tree(name: str, base_folder: Path | None, ancestors: tuple[str, ...]) -> dict[str, Any]:
    """Return a recipe's settings as written: its parents' first, then its own; ``a+b`` lays b over a."""
    tree: dict[str, Any] = {}
    # A file may have a + in its path.
    for part in [name] if name.endswith(".toml") and Path(name).is_file() else name.split("+"):
        tree = _merge_settings(tree, _read_layer(part.strip(), base_folder, ancestors))
    return tree


def _read_layer(name: str, base_folder: Path | None, ancestors: tuple[str, ...]) -> dict[str, Any]:
    where, text, folder = _find_recipe(name, base_folder)
    if where in ancestors:
        raise RecipeError(f"{where} extends itself: {' → '.join((*ancestors, where))}.")
    try:
        own = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where} is not valid TOML: {error}.") from None
    parent = own.pop("extends", None)
    parse_settings(Recipe, own, where)
    return own if parent is None else _merge_settings(_read_tree(str(parent), folder, (*ancestors, where)), own)


_KEY_PART = re.compile(r'"[^"]+"|[^."]+')
"""A part of a dotted key; one in quotes may hold dots itself, as a column's name may."""


def _parse_assignment(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {text!r} is not of the form a.b=value.")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    for part in reversed(_KEY_PART.findall(key.strip())):
        parsed = {part.strip('"'): parsed}
    return dict(parsed)


def read_recipe(name: str, changes: Iterable[str] = ()) -> Recipe:
    """Return a recipe by packaged name or .toml path (``a+b`` lays b over a), with ``a.b=value`` changes laid over it.

    Raises `RecipeError` that says what does not fit, where, and the nearest known name.
    """
    tree = _read_tree(name, None, ())
    recipe = parse_settings(Recipe, tree, f"recipe {name}")
    for change in changes:
        tree = _merge_settings(tree, _parse_assignment(change))
        recipe = parse_settings(Recipe, tree, f"--set {change.partition('=')[0]}")
    return recipe


def _register_installed_systems() -> None:
    """Register what installed packages name as entry points; raise `RecipeError` for one that cannot be loaded."""
    for entry in entry_points(group="trialigngr.systems"):
        try:
            register_system(entry.load())
        except Exception as error:  # noqa: BLE001  # whatever a stranger's module does when it is imported
            package = entry.dist.name if entry.dist else entry.value
            raise RecipeError(
                f"The system {entry.name!r} of the installed package {package} cannot be loaded ({error}); mend the "
                "package, or uninstall it."
            ) from None


_register_installed_systems()
