"""How a model_fn becomes an nn.Module."""
