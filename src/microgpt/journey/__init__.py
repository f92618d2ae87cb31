"""The journey: shorter and other programs, shown to compute the same.

analyze.py says what repeats in a program, ledger.py
what our editions weigh. Everything here returns data or text; only the command line prints.
"""
