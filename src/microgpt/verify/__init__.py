"""Is a program the same as another? The proof, and what it needs to run programs safely.

`verifier` compares two programs, `exported` a model file or an export with its model. Everything here returns data or
text; only the command line prints.
"""
