"""A model server that misbehaves on a seeded script, and a client that mines interests from it."""
