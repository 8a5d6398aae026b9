"""What every room stands on: errors, settings, artifacts, seeds, the console, the device."""
