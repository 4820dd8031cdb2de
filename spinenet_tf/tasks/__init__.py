"""One file a task: how its data are read, batched, measured and drawn."""
