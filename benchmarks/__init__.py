"""Measurements with goals: ``make bench NAME=x`` runs ``x.py`` here. Results worth keeping go to docs/log."""
