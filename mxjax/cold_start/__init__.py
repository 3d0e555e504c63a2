"""Cold start: supervised fine-tuning before reinforcement learning, and its examples."""
