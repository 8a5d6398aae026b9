"""A batch engine for language models: backends, response cache, rate limit, cost."""
