"""Which function draws which noun."""

from __future__ import annotations

from collections.abc import Callable

from trialigngr.datasets.synthetic import homeware, outfits
from trialigngr.datasets.synthetic.easel import Easel

SHAPES: dict[str, Callable[[Easel], None]] = {
    "Mug": homeware.mug,
    "Cup": homeware.cup,
    "Tumbler": homeware.tumbler,
    "Teapot": homeware.teapot,
    "Coffee Pot": homeware.coffee_pot,
    "Kettle": homeware.kettle,
    "Table Lamp": homeware.table_lamp,
    "Pendant Lamp": homeware.pendant_lamp,
    "Floor Lamp": homeware.floor_lamp,
    "Armchair": homeware.armchair,
    "Stool": homeware.stool,
    "Dining Chair": homeware.dining_chair,
    "Jacket": outfits.jacket,
    "Hooded Jacket": outfits.hooded_jacket,
    "Vest": outfits.vest,
    "Sneakers": outfits.sneakers,
    "Boots": outfits.boots,
    "Slip-Ons": outfits.slip_ons,
    "Backpack": outfits.backpack,
    "Tote Bag": outfits.tote_bag,
    "Duffel Bag": outfits.duffel_bag,
    "Notebook": outfits.notebook,
    "Planner": outfits.planner,
    "Sketchbook": outfits.sketchbook,
}
