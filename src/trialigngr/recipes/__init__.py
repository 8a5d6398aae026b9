"""A recipe: the settings of every stage under a name, written as its difference from another recipe."""
