"""The recorded way to a shortened edition: ideas in the order in which they were tried.

An idea is a set of exact replacements in the program as it was then. The ideas that were kept add
up to the edition. Those rejected failed verification, or saved nothing. They are recorded in a
TOML file; `replay` applies them again, and runs nothing.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError


@dataclass(frozen=True)
class Idea:
    """One idea, and the program before and after it."""

    title: str
    why: str  # it was kept, or not
    kept: bool
    verdict: str  # that `verify` must give
    steps: int  # of training that show the verdict
    before: str
    after: str

    @property
    def lines(self) -> tuple[int, int]:
        """Lines before and after."""
        return self.before.count("\n"), self.after.count("\n")


def replay(recorded: Path, source: str) -> list[Idea]:
    """All ideas applied to the original's source.

    DataError where the text that an idea replaces is not in the program exactly once.
    """
    ideas = []
    for step in tomllib.loads(recorded.read_text(encoding="utf-8"))["step"]:
        text = source
        for change in step["change"]:
            count = text.count(change["old"])
            if count != 1:
                raise DataError(
                    f"the idea {step['idea']!r} changes a text found {count} times",
                    where=str(recorded),
                    fix="the original changed: bring the recorded text up to date",
                )
            text = text.replace(change["old"], change["new"])
        ideas.append(
            Idea(
                title=step["idea"],
                why=step["why"],
                kept=step["kept"],
                verdict=step.get("verdict", "same"),
                steps=step.get("steps", 3),
                before=source,
                after=text,
            )
        )
        if step["kept"]:
            source = text
    return ideas


def result(ideas: list[Idea]) -> str:
    """The program that the kept ideas add up to."""
    kept = [idea for idea in ideas if idea.kept]
    return kept[-1].after if kept else ideas[0].before


def table(ideas: list[Idea]) -> str:
    """The ideas as a Markdown table."""
    rows = ["| idea | lines | verdict | outcome | why |", "|---|---|---|---|---|"]
    for idea in ideas:
        before, after = idea.lines
        decision = "kept" if idea.kept else "rejected"
        rows.append(
            f"| {idea.title} | {before} → {after} | {idea.verdict} | {decision} | {idea.why} |"
        )
    return "\n".join(rows)
