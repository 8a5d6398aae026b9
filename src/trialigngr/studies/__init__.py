"""Questions to several runs, or a search over settings."""
