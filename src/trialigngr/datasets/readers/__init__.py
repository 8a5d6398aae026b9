"""Readers of the field's formats, one a file; `import_data` writes what they read as a data folder."""

from trialigngr.datasets.readers.registry import READERS, import_data

__all__ = ["READERS", "import_data"]
