"""The programs that are compared, each a process of its own in the environment of its library."""
