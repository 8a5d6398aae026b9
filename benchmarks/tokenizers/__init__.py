"""Parts of ``benchmarks/sids.py``: data, other libraries, the large run, MACRec's effect."""
