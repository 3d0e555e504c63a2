"""The half of the sandbox that runs inside it.

Standard library only, loaded by path, never imported by the trainer except for `wire`, the encoding that both halves
share.
"""
