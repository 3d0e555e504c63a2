"""Cold start: what a policy is shown before it learns by reinforcement, and the fine-tuning on it."""
