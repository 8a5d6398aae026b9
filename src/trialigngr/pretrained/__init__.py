"""What can be read and seen with nothing but installed packages: MiniLM, EfficientNet-lite2, measured looks."""
