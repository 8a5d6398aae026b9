"""Which function draws which noun."""

from __future__ import annotations

from collections.abc import Callable

from trialigngr.datasets.synthetic import homeware, outfits
from trialigngr.datasets.synthetic.canvas import Canvas

SHAPES: dict[str, Callable[[Canvas], None]] = {
    "Mug": homeware.draw_mug,
    "Cup": homeware.draw_cup,
    "Tumbler": homeware.draw_tumbler,
    "Teapot": homeware.draw_teapot,
    "Coffee Pot": homeware.draw_coffee_pot,
    "Kettle": homeware.draw_kettle,
    "Table Lamp": homeware.draw_table_lamp,
    "Pendant Lamp": homeware.draw_pendant_lamp,
    "Floor Lamp": homeware.draw_floor_lamp,
    "Armchair": homeware.draw_armchair,
    "Stool": homeware.draw_stool,
    "Dining Chair": homeware.draw_dining_chair,
    "Jacket": outfits.draw_jacket,
    "Hooded Jacket": outfits.draw_hooded_jacket,
    "Vest": outfits.draw_vest,
    "Sneakers": outfits.draw_sneakers,
    "Boots": outfits.draw_boots,
    "Slip-Ons": outfits.draw_slip_ons,
    "Backpack": outfits.draw_backpack,
    "Tote Bag": outfits.draw_tote_bag,
    "Duffel Bag": outfits.draw_duffel_bag,
    "Notebook": outfits.draw_notebook,
    "Planner": outfits.draw_planner,
    "Sketchbook": outfits.draw_sketchbook,
}
