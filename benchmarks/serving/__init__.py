"""What the benchmark of the service stands on: clients in a process of their own, and a plain server beside it."""
