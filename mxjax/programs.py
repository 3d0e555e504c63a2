"""The former name of `mxjax.program_extraction`, until its last users import that."""

from mxjax.program_extraction import extract_program, program_fence

__all__ = ["extract_program", "program_fence"]
