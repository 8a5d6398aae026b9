"""What the benchmark of encoder–decoder generators runs."""
