"""A new project: its files, its name, and what it installs GoVerse from."""
