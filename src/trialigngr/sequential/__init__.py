"""Conventional next-item networks."""
