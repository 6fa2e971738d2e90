"""TLS certificates of the links: validated at the start, watched for changes, and replaced while the process serves."""
