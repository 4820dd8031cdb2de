"""Files that appear whole or not at all, documents read safely, and what native libraries print."""
