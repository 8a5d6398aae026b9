"""Settings: typed, frozen, checked. Each stage declares its own beside its code; a recipe is a tree of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from trialigngr.foundation.errors import RecipeError, did_you_mean

Precision = Literal["auto", "bf16", "fp32"]
"""What a network computes in."""
Preset = Literal["tuned", "paper"]


class Settings(BaseModel):
    """Base of every stage's settings. Unknown keys are refused; a docstring under a field is its help text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some values changed; raise `KeyError` for a name that is no setting."""
        if unknown := set(update or ()) - set(type(self).model_fields):
            raise KeyError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        return super().model_copy(update=update, deep=deep)

    def is_recorded_as(self, recorded: Mapping[str, Any]) -> bool:
        """Return whether the settings of a manifest are these. What it lacks came later and had its default: that of a
        new setting is what was done before."""
        try:
            return type(self).model_validate(recorded).model_dump(mode="json") == self.model_dump(mode="json")
        except (ValidationError, RecipeError):
            return False


class PresetSettings(Settings):
    """Settings with two sets of defaults."""

    PAPER: ClassVar[Mapping[str, Any]] = {}
    """What ``preset = "paper"`` lays under the settings that are given."""

    preset: Preset = "tuned"
    """``paper``: loss, size and schedule as the paper has them; ``tuned``: ours. Settings that are given
    beside it win."""

    @model_validator(mode="before")
    @classmethod
    def _lay_preset_under(cls, given: Any) -> Any:
        is_paper = isinstance(given, Mapping) and given.get("preset") == "paper"
        return {**cls.PAPER, **given} if is_paper else given


S = TypeVar("S", bound=Settings)


def _known_keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    for part in path:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field is not None else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


def _hint_new_name(name: str, known: Sequence[str]) -> str:
    """Return what became of a setting since 2026-11-29: its new name, or that it is gone; empty if it never was one."""
    lines = (files("trialigngr.foundation") / "renamed_settings.txt").read_text("utf-8").splitlines()
    pairs = [(old, new) for old, new in (line.split(" = ") for line in lines)]
    names = [new for old, new in pairs if old == name]
    if found := [new for new in names if new.partition(".")[0] in known]:
        return f" It is called {found[0]} now."
    return " It is no setting any more." if any((one, "-") in pairs for one in (name, *names)) else ""


def parse_settings(model: type[S], values: dict[str, Any], where: str) -> S:
    """Check ``values`` against ``model``; raise `RecipeError` naming ``where`` and the nearest known key."""
    try:
        return model.model_validate(values)
    except RecipeError as error:  # of a setting that says itself what does not fit
        raise RecipeError(f"{where}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        *parents, last = first["loc"] or ("",)
        key = ".".join(str(part) for part in (*parents, last))
        if first["type"] == "extra_forbidden":
            known = _known_keys(model, tuple(parents))
            hint = _hint_new_name(str(last), [*known, *model.model_fields]) or did_you_mean(str(last), known)
            raise RecipeError(f"{where}: there is no setting {key!r}.{hint}") from None
        raise RecipeError(f"{where}: {key} = {first.get('input')!r} does not fit: {first['msg']}.") from None
