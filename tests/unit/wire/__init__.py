"""The wire's rules, without a socket."""
