"""What a run is worth: ranks of every target, figures with intervals and protocol, runs side by side."""
