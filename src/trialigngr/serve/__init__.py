"""Finished runs behind HTTP: histories in, items out, where each comes from, and why."""
