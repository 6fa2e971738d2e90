"""What tests of the gate stand on: object types, a link that serves them in process, and a real server."""
