"""Creation of a new project: its files, its name, and the source that it installs GoVerse from."""
