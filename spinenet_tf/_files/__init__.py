"""Write files atomically, read YAML safely, and share progress and message helpers."""
