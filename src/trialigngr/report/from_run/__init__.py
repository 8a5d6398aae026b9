"""Fills the page from a finished run."""
