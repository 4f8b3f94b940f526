"""One client for each system outside the platform (Diagram 1); a client never retries by itself."""
