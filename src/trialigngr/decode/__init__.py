"""From a history to ranked items: beam search that can only write SIDs that exist and are allowed."""
