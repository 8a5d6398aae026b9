"""`SYSTEMS`: the one registry of everything that ranks, by name. Importing it loads no network."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialigngr.foundation.errors import ErrorKind, RecipeError, did_you_mean
from trialigngr.seq2seq.settings import (
    EtegRecSettings,
    LetterTigerSettings,
    MacRecGeneratorSettings,
    OwnSidSettings,
    Seq2SeqSettings,
    TigerSettings,
)
from trialigngr.sequential.settings import (
    Bert4RecSettings,
    CaserSettings,
    FdsaSettings,
    Gru4RecSettings,
    HgnSettings,
    HstuSettings,
    S3RecSettings,
    SasRecSettings,
    SequentialSettings,
)
from trialigngr.systems.settings import CountsSettings, EaseSettings, ItemKnnSettings, SasRecCountsSettings
from trialigngr.systems.spec import DataNeed, Facts, SidInputs, SystemInputs, SystemSpec

if TYPE_CHECKING:
    from trialigngr.evaluate.system import ScorerSystem
    from trialigngr.systems.generator import GeneratorSystem

GENERATOR = "generator"
"""The language model: it heads the table of a run, unless `evaluate.head` names another."""
GENERATORS = (GENERATOR, "generator_alone")
"""What the stages of the language model make: the generator as the recipe has it, and without its prior."""


def _load_attribute(path: str) -> Any:
    """Return what a path such as ``package.module:name`` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _defer_call(path: str) -> Callable[..., Any]:
    """Return a function that calls the one that a path names, which is imported only then."""

    def call(*given: Any) -> Any:
        return _load_attribute(path)(*given)

    return call


def describe_network(
    name: str, label: str, settings: type[SequentialSettings], network: str, data_needs: tuple[DataNeed, ...] = ()
) -> SystemSpec:
    """Return the spec of a next-item network: ``network`` is the path of its `NextItemNetwork`, ``module:Class``."""

    def fit(inputs: SystemInputs, chosen: SequentialSettings, out: Path) -> Facts:
        from trialigngr.sequential.training import TrainingData, train_network

        valid = inputs.sample_targets("valid", chosen.validate_users)
        attributes = inputs.item_attributes if DataNeed.ATTRIBUTES in data_needs else None
        data = TrainingData(inputs.histories, len(inputs.catalog), valid, attributes)
        return train_network(name, _load_attribute(network), chosen, data, inputs.root_seed, out, inputs.device)

    def load(inputs: SystemInputs, folder: Path) -> ScorerSystem:
        from trialigngr.evaluate.system import ScorerSystem
        from trialigngr.sequential.network import NetworkScorer

        return ScorerSystem(
            NetworkScorer.load(name, _load_attribute(network), settings, folder, len(inputs.catalog), inputs.device)
        )

    return SystemSpec(name, label, load, settings, fit, data_needs=data_needs, describe_cost=_describe_epochs)


def describe_seq2seq(name: str, label: str, settings: type[Seq2SeqSettings]) -> SystemSpec:
    """Return the spec of an encoder–decoder generator over the run's SIDs, or over its own where it is set so."""
    own = settings.describe_sids if issubclass(settings, OwnSidSettings) else None
    stage = "sids" if own is None else f"{name}_sids"

    def fit(inputs: SidInputs, chosen: Seq2SeqSettings, out: Path) -> Facts:
        from trialigngr.seq2seq.training import Seq2SeqData, train_generator

        data = Seq2SeqData(
            inputs.histories, inputs.load_sids(stage), inputs.sample_targets("valid", chosen.validate_users)
        )
        return train_generator(name, chosen, data, inputs.root_seed, out, inputs.device)

    def load(inputs: SidInputs, folder: Path) -> GeneratorSystem:
        from trialigngr.systems.generator import load_seq2seq

        return load_seq2seq(name, settings, inputs, inputs.load_sids(stage), folder)

    return SystemSpec(
        name,
        label,
        load,
        settings,
        fit,
        needs=("catalog", stage),
        describe_cost=_describe_epochs,
        sids_stage=stage,
        describe_sids=own,
    )


def _describe_epochs(settings: SequentialSettings | Seq2SeqSettings) -> str:
    first = getattr(settings, "pretrain_epochs", 0)
    return f"{f'{first} epochs before, then ' if first else ''}at most {settings.epochs} epochs"


def _describe_counter(name: str, label: str, settings: Any = None, needs: tuple[str, ...] = ("catalog",)) -> SystemSpec:
    """Return the spec of a system that trains nothing: the functions ``fit_NAME`` and ``load_NAME`` of its own
    module."""
    module = f"trialigngr.systems.{name}"
    return SystemSpec(
        name,
        label,
        load=_defer_call(f"{module}:load_{name}"),
        settings=settings,
        fit=_defer_call(f"{module}:fit_{name}"),
        needs=needs,
    )


def _describe_macrec_variant(name: str, label: str) -> SystemSpec:
    """Return the spec of another way to rank by what MACRec's stage trained."""
    load = _defer_call(f"trialigngr.systems.macrec:load_{name}")
    return SystemSpec(
        name, label, load, fit=_defer_call("trialigngr.systems.macrec:fit_nothing"), needs=("catalog", "macrec")
    )


def _describe_packaged(
    name: str, label: str, settings: type[SequentialSettings], network: str, *needs: DataNeed
) -> SystemSpec:
    """Return the spec of a network in the module of its own name."""
    return describe_network(name, label, settings, f"trialigngr.sequential.{name}:{network}", needs)


SYSTEMS: dict[str, SystemSpec] = {
    spec.name: spec
    for spec in (
        SystemSpec(GENERATOR, "TriAlignGR", _defer_call("trialigngr.systems.generator:load_generator")),
        SystemSpec(
            "generator_alone",
            "TriAlignGR without prior",
            _defer_call("trialigngr.systems.generator:load_generator_alone"),
        ),
        _describe_counter("popularity", "Popularity"),
        _describe_counter("counts", "Counts", CountsSettings),
        _describe_counter("item_knn", "ItemKNN", ItemKnnSettings),
        _describe_counter("ease", "EASE^R", EaseSettings),
        _describe_packaged("gru4rec", "GRU4Rec", Gru4RecSettings, "Gru4Rec"),
        _describe_packaged("caser", "Caser", CaserSettings, "Caser"),
        _describe_packaged("hgn", "HGN", HgnSettings, "Hgn"),
        _describe_packaged("sasrec", "SASRec", SasRecSettings, "SasRec"),
        _describe_packaged("bert4rec", "BERT4Rec", Bert4RecSettings, "Bert4Rec"),
        _describe_packaged("s3_rec", "S3-Rec", S3RecSettings, "S3Rec", DataNeed.ATTRIBUTES),
        _describe_packaged("fdsa", "FDSA", FdsaSettings, "Fdsa", DataNeed.ATTRIBUTES),
        _describe_packaged("hstu", "HSTU", HstuSettings, "Hstu"),
        _describe_counter(
            "sasrec_counts", "SASRec + counts", SasRecCountsSettings, needs=("catalog", "sasrec", "counts")
        ),
        describe_seq2seq("tiger", "TIGER", TigerSettings),
        describe_seq2seq("letter", "LETTER", LetterTigerSettings),
        SystemSpec(
            "etegrec",
            "ETEGRec",
            _defer_call("trialigngr.systems.etegrec:load_etegrec"),
            EtegRecSettings,
            _defer_call("trialigngr.systems.etegrec:fit_etegrec"),
            needs=("catalog", "sasrec"),
            describe_cost=_describe_epochs,
            sids_stage="etegrec",
        ),
        SystemSpec(
            "macrec",
            "MACRec",
            _defer_call("trialigngr.systems.macrec:load_macrec"),
            MacRecGeneratorSettings,
            _defer_call("trialigngr.systems.macrec:fit_macrec"),
            needs=("catalog", "macrec_sids"),
            describe_cost=_describe_epochs,
            sids_stage="macrec_sids",
            describe_sids=MacRecGeneratorSettings.describe_sids,
        ),
        _describe_macrec_variant("macrec_text", "MACRec, text alone"),
        _describe_macrec_variant("macrec_image", "MACRec, pictures alone"),
        _describe_macrec_variant("macrec_mixture", "MACRec, mixture"),
    )
}
"""Name → spec, in the order in which they are listed."""


def find_system(name: str) -> SystemSpec:
    """Return a system by name; raise `RecipeError` with the nearest known one."""
    if name not in SYSTEMS:
        raise RecipeError(
            f"There is no system {name!r}; there are {', '.join(SYSTEMS)}.{did_you_mean(name, SYSTEMS)}",
            ErrorKind.UNKNOWN_SYSTEM,
        )
    return SYSTEMS[name]


def writes_sids(name: str) -> bool:
    """Return whether there is a system of that name that writes SIDs."""
    return name in SYSTEMS and SYSTEMS[name].writes_sids


def knows_appended(name: str) -> bool:
    """Return whether there is a system of that name that knows items that were appended."""
    return name in SYSTEMS and SYSTEMS[name].knows_appended


def check_system_names(names: Iterable[str]) -> None:
    """Raise `RecipeError` for a name that no system has."""
    for name in names:
        find_system(name)
