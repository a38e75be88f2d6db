"""Backups of an installation, and their way back: one command each (scripts/backup.py)."""
