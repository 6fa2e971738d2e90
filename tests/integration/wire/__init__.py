"""Links over real sockets and between real processes, with injected faults."""
