"""The captured step: a whole step as one functional graph, compiled."""
