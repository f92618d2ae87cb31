"""The journey: the reference written shorter and otherwise, shown to compute the same.

Read in this order:

- `editions`: the programs that come with the package, and where they are.
- `ledger`: what each edition weighs and what it is certified for; LEDGER.md and the tables in
  docs/.
- `syntax`, `analyze`: what repeats in a program, and what an abstraction would save.
- `form`: whether a shortened program keeps the comments and the spacing of its original.
- `steps`: the recorded ideas that lead from the reference to short.py.
- `gist`, `remind`: publish an edition with its certificate; be reminded of what to try next.

Everything here returns data or text. Only the command line prints.
"""
