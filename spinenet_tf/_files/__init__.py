"""Files that appear whole or not at all, documents read safely, and what work tells on its way."""
