"""HR, NDCG, MRR and their intervals, as arithmetic on ranks. Knows nothing of models or data."""
