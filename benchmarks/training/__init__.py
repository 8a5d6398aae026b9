"""The two sides of the training benchmark, and what each contribution gives."""
