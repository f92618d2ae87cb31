"""The recorded way to a shortened edition: ideas in the order they were tried, applied again from the first.

An idea is a set of exact replacements in the program as it stood. Those kept add up to the edition; those rejected were
verified and failed, or saved nothing. Recorded in a TOML file; nothing is run here.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError


@dataclass(frozen=True)
class Idea:
    """One idea: title, why it was kept or not, the verdict it must get, and the program before and after it."""

    title: str
    why: str
    kept: bool
    verdict: str
    steps: int  # of training that show the verdict
    before: str
    after: str

    @property
    def lines(self) -> tuple[int, int]:
        """Lines before and after."""
        return self.before.count("\n"), self.after.count("\n")


def replay(recorded: Path, source: str) -> list[Idea]:
    """All ideas applied to the original's source. DataError where a replacement is not found exactly once."""
    ideas = []
    for step in tomllib.loads(recorded.read_text(encoding="utf-8"))["step"]:
        text = source
        for change in step["change"]:
            if text.count(change["old"]) != 1:
                raise DataError(
                    f"the idea {step['idea']!r} changes a text found {text.count(change['old'])} times",
                    where=str(recorded),
                    fix="the original changed: bring the recorded text up to date",
                )
            text = text.replace(change["old"], change["new"])
        verdict = step.get("verdict", "same")
        ideas.append(
            Idea(
                step["idea"], step["why"], step["kept"], verdict, step.get("steps", 3), source, text
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
