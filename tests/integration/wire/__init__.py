"""Links over real sockets, between real processes, with everything going wrong."""
