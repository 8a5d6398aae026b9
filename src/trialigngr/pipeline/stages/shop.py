"""Stage ``shop``: a drawn shop, where no data folder is given."""

from __future__ import annotations

from pathlib import Path

from trialigngr.pipeline.stage_graph import Facts, StageContext, StageSpec, need


def build_shop(context: StageContext, out: Path) -> Facts:
    """Draw the shop."""
    from trialigngr.datasets.synthetic.draw import draw_shop

    return draw_shop(out, context.recipe.shop)


SPEC = StageSpec(
    name="shop",
    settings=lambda context: context.recipe.shop,
    needs=need(),
    build=build_shop,
    is_wanted=lambda context: context.data is None,
)
