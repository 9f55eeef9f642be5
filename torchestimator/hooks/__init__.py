"""Code that runs around the steps of a loop."""
