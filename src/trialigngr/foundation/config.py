"""Settings: typed, frozen, checked. Each stage declares its own beside its code; a recipe is a tree of them."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from trialigngr.foundation.errors import RecipeError, did_you_mean


class Settings(BaseModel):
    """Base of every stage's settings. Unknown keys are refused; a docstring under a field is its help text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


S = TypeVar("S", bound=Settings)


def _known_keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    for part in path:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field is not None else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


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
            hint = did_you_mean(str(last), _known_keys(model, tuple(parents)))
            raise RecipeError(f"{where}: there is no setting {key!r}.{hint}") from None
        raise RecipeError(f"{where}: {key} = {first.get('input')!r} does not fit: {first['msg']}.") from None
