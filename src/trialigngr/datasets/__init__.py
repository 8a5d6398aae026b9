"""Where data folders come from: readers of the field's formats, and a drawn shop."""
