"""What talking to the API took: counters, and nothing about where they are shown."""

import threading


class Usage:
    """What was used, counted by any number of threads.

    Attributes:
        requests: Requests sent, first attempts, retries and redirects alike.
        retries: Requests sent again under the error handler.
        bytes_received: Bytes of all bodies, after decompression.
        waited_seconds: Time spent waiting before retries, and because the server asked to wait.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.retries = 0
        self.bytes_received = 0
        self.waited_seconds = 0.0
        self._lock = threading.Lock()

    def add(
        self, *, requests: int = 0, retries: int = 0, bytes_received: int = 0, waited_seconds: float = 0.0
    ) -> None:
        """Count something on top of what was counted before."""
        with self._lock:
            self.requests += requests
            self.retries += retries
            self.bytes_received += bytes_received
            self.waited_seconds += waited_seconds
