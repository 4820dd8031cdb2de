"""Write a model card: what a run's model is, how it was made and measured, and how to run it."""
