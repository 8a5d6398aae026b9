"""Quantizers: an embedding in, one code a level out. One quantizer a file, one protocol, one file format."""
