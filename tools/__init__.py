"""The commands of mmgpt. Each file parses its arguments before any heavy import; ``mmgpt X`` runs ``tools/X.py``."""
