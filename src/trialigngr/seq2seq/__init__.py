"""Encoder–decoder generators that write Semantic IDs: a T5 of their own size, from scratch, over SID tokens alone."""
