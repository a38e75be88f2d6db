"""Code health: what a repository's history and its code say about the changes, files and projects in it."""
