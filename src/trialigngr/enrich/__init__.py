"""What is added to an item: a caption of its picture (CMSA) and the interests it speaks to (MDIM)."""
