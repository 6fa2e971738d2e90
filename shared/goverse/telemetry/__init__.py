"""What a process tells about itself: logs and the metrics of the process."""
