"""Items and who took what: reading data folders, k-core, splits, readers of the field's formats, the drawn shop."""
