"""The journey: shorter and other programs, shown to compute the same.

verify.py says whether a program is the same as another, analyze.py what repeats in a program, ledger.py
what our editions weigh. Everything here returns data or text; only the command line prints.
"""
