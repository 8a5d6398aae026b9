"""One vector an item: its enriched text in the right order, its picture, and how the two become one (Eq. 2)."""
