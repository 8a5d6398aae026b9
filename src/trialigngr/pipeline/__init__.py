"""Making a run: the stages, what they cost, what they publish; a recipe and a data folder in, a run folder out."""
