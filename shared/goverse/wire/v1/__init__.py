"""Version 1 of the protocol: `wire.proto`, and what protoc makes of it (`make proto`)."""
