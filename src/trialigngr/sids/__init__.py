"""Semantic IDs: item embeddings in, a few discrete codes per item out, and the trie of all that exist."""
