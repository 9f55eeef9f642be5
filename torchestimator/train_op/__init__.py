"""How a training step changes the parameters: descriptions, and what carries them out."""
