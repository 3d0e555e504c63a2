"""MetaAgent-X in JAX: one language model learns to design multi-agent systems and to be their agents."""

__version__ = "0.1.0"
