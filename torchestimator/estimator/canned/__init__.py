"""Ready-made estimators: each a short assembly of logits and a head."""
