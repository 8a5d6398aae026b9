"""The backbone: small from scratch, or any Hugging Face causal language model; SID tokens as new vocabulary rows."""
