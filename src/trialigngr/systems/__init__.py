"""Everything that ranks, in one registry: what stands in a table, and behind ``recommend --system``."""
