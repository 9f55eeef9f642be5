"""Where models run: one contract, one file per way."""
