"""What is compared with: the servers of others, run as they run fastest, in environments of their own."""
