"""What `benchmarks/sequential.py` measures: the same networks of a library that others keep, and memory."""
