"""A finished run, opened: artifacts, catalogue, recommendations, batch inference."""
