"""How an export is served."""

import os
from dataclasses import dataclass

MEBI = 2**20


@dataclass(frozen=True)
class ServerOptions:
    """Settings of `torchestimator serve`, as its options give them."""

    directory: str
    """A base folder of exports, whose newest is served, or one export."""
    name: str | None = None
    """What clients call the model; None: the name of the base folder."""
    host: str = "127.0.0.1"
    """The address to listen at."""
    port: int = 8000
    """The port; 0: any that is free."""
    max_batch_size: int = 64
    """Rows that are computed together; 1: each request alone."""
    batch_timeout_micros: int = 0
    """How long a request waits for others, in microseconds. 0: only as long as others are being computed."""
    threads: int = os.cpu_count() or 1
    """Cores to compute with: for one batch at a time, or without batching for as many requests at a time."""
    poll_secs: float = 1.0
    """Seconds between two looks into the base folder for a newer version."""
    max_body_bytes: int = 64 * MEBI
    """The largest body of a request."""
    max_queue: int = 1024
    """Requests that may wait or be computed; further ones are told to come back."""

    def __post_init__(self) -> None:
        for option in ("max_batch_size", "threads", "max_body_bytes", "max_queue"):
            if getattr(self, option) < 1:
                raise ValueError(f"`{option}` must be at least 1. Received: {getattr(self, option)}.")
        if self.batch_timeout_micros < 0:
            raise ValueError(f"`batch_timeout_micros` must be 0 or more. Received: {self.batch_timeout_micros}.")
        if self.poll_secs <= 0:
            raise ValueError(f"`poll_secs` must be more than 0. Received: {self.poll_secs}.")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"`port` must be 0 to 65535. Received: {self.port}.")
