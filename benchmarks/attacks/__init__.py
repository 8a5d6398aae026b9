"""Attacks that nothing may be lost by: damaged runs, mutated pictures and tables, a hostile server, kills."""
