"""One self-contained page a run: what was made, how good it is, and the people it was made for."""
