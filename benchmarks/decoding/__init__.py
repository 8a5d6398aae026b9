"""Parts of ``benchmarks/decode.py``: the data, the other ways to decode, large catalogues, the oracle on a run."""
