"""How many logits are computed at once."""

MAX_CPU_LOGITS, MAX_GPU_LOGITS = 1 << 25, 1 << 28
"""More logits than this are computed in pieces, each again in the backward pass: 32M are 128 MB in fp32. Each piece
adds a gradient of the whole output layer, which on a GPU costs more than the piece itself."""
