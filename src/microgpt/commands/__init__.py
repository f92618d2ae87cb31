"""The verbs of the command line: `microgpt VERB` runs commands/VERB.py.

To add a verb, add one file. The first line of its docstring is its summary in `microgpt --help`.
It defines

    EXAMPLES                   lines of its --help page, each indented by two spaces
    add_arguments(parser)      adds the verb's own arguments to an argparse parser
    run(args, face) -> int     does the work, prints through `face`, returns the exit code

and its test is tests/command/test_VERB.py. A file whose name begins with "_" is no verb: it holds
what several verbs share.
"""

from __future__ import annotations

import os

NO = 1  # exit code: the answer is no, or there are fewer results than requested


def names() -> list[str]:
    """The verbs, in alphabetical order."""
    stems = [os.path.splitext(name) for name in os.listdir(__path__[0])]
    return sorted(stem for stem, suffix in stems if suffix == ".py" and not stem.startswith("_"))


def summary(verb: str) -> str:
    """What a verb does, in one sentence: the first line of its file, which is not imported."""
    with open(os.path.join(__path__[0], f"{verb}.py"), encoding="utf-8") as file:
        return file.readline().strip().strip('"')
