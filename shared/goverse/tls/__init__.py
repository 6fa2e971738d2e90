"""Certificates of the links: files that are judged at the start, looked at all the time, and replaced while serving."""
