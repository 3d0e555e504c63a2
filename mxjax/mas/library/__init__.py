"""The library that designs are written against, native to the interpreter."""
