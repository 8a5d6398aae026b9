"""Safe picture ingestion: open, place, download, store, and features that are measured."""
