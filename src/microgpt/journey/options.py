"""The flags of `microgpt verify` and `microgpt journey ...`. Light: the parser is built at every start."""

from __future__ import annotations

from typing import Any

EXAMPLES = {
    "verify": """\
examples:
  microgpt verify shorter.py                       every bit of losses, weights and output, against the reference
  microgpt verify shorter.py --steps 20            a quick look: 20 steps instead of 1,000
  microgpt verify shorter.py --original mine.py --data words.txt --seeds 42,7
  microgpt verify exact --steps 50                 an engine of ours
  microgpt verify --cmd 'node port.js' --level samples
  microgpt verify names.safetensors                does its own training, done again, give these very weights?
  microgpt verify names.html --original names.safetensors
  microgpt verify shorter.py --form --gradients    comments and spacing kept? gradients right?
""",
    "analyze": "examples:\n  microgpt journey analyze program.py --top 10\n",
    "ledger": "examples:\n  microgpt journey ledger                   rewrites LEDGER.md and the tables in docs/\n",
    "editions": "examples:\n  microgpt journey editions golf > golf.py\n",
    "gist": "examples:\n  microgpt journey gist short     writes a folder; publishes nothing\n",
    "remind": """\
examples:
  microgpt journey remind                          where the ledger stands, and what to try next
  microgpt journey remind --every 1h
  microgpt journey remind --install systemd
""",
}


def add_verify(p: Any) -> None:
    """`microgpt verify`."""
    p.add_argument(
        "what", nargs="?", metavar="WHAT", help="a .py file, an engine's name, or a model's file"
    )
    p.add_argument(
        "--cmd", metavar="COMMAND", help="a command instead; {data}, {steps}, {seed} are filled in"
    )
    p.add_argument(
        "--original",
        metavar="FILE",
        help="compare with this program (the reference), an export with this model",
    )
    p.add_argument(
        "--data",
        metavar="FILE",
        action="append",
        help="becomes input.txt; may be repeated (built-in names)",
    )
    p.add_argument("--steps", type=int, metavar="N", help="set num_steps to N in both programs")
    p.add_argument(
        "--steps-name",
        default="",
        metavar="NAME",
        help="the variant's name for its number of steps",
    )
    p.add_argument(
        "--seeds", default="", metavar="A,B", help="run each data set with each of these seeds"
    )
    p.add_argument(
        "--fresh",
        type=int,
        default=0,
        metavar="N",
        help="also N data sets drawn at random from the first",
    )
    p.add_argument("--fresh-seed", type=int, metavar="N", help="draw the same ones again")
    p.add_argument(
        "--level", choices=("bits", "ulp", "printed", "samples"), help="what must be equal (bits)"
    )
    p.add_argument("--ulps", type=int, default=4, metavar="N", help="for --level ulp (4)")
    p.add_argument(
        "--python",
        action="append",
        metavar="PATH",
        help="run both under this Python; may be repeated",
    )
    p.add_argument(
        "--gradients", action="store_true", help="check the gradients by finite differences instead"
    )
    p.add_argument(
        "--form", action="store_true", help="check that comments and spacing are kept as well"
    )
    p.add_argument(
        "--seconds",
        type=float,
        default=3600.0,
        metavar="S",
        help="wall time one run may take (3600)",
    )
    p.add_argument(
        "--memory", type=float, default=4.0, metavar="GB", help="memory one run may take (4)"
    )
    p.add_argument("--report", metavar="FILE", help="write the verdict as JSON")
    p.add_argument(
        "--force", action="store_true", help="overwrite a FILE that microgpt did not write"
    )
    p.add_argument("--json", action="store_true", help="print the verdict as JSON")


def add_journey(p: Any) -> None:
    """`microgpt journey analyze|ledger|gist|remind`."""
    verbs = p.add_subparsers(dest="stage", required=True, metavar="STAGE")
    for name, summary, add in (
        (
            "analyze",
            "Find what repeats in a program, and what an abstraction would save.",
            _analyze,
        ),
        (
            "editions",
            "List the editions that come with the package, or print one.",
            _editions,
        ),
        (
            "ledger",
            "Measure and certify the editions; rewrite LEDGER.md and the tables in the docs.",
            _ledger,
        ),
        (
            "gist",
            "Write an edition with its certificate as a folder; publish it only when told to.",
            _gist,
        ),
        (
            "remind",
            "Say where the ledger stands and what to try next: once, regularly, or by a timer.",
            _remind,
        ),
    ):
        add(verbs.add_parser(name, help=summary, description=f"{EXAMPLES[name]}\n{summary}"))


def _analyze(p: Any) -> None:
    p.add_argument("file", metavar="FILE.py")
    p.add_argument("--top", type=int, default=20, metavar="N", help="families to show (20)")
    p.add_argument("--json", action="store_true", help="one JSON object a family")


def _editions(p: Any) -> None:
    p.add_argument("name", nargs="?", metavar="NAME", help="print this edition")


def _ledger(p: Any) -> None:
    p.add_argument("--editions", metavar="DIR", help="where they are (the package's own)")
    p.add_argument(
        "--docs", default="docs", metavar="DIR", help="where tables are rewritten (docs)"
    )
    p.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 where something is stale"
    )
    p.add_argument(
        "--tables", action="store_true", help="measure nothing; rewrite texts from what is recorded"
    )
    p.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="measure this edition alone; may be repeated",
    )
    p.add_argument(
        "--steps", type=int, default=20, metavar="N", help="certify over N steps, 0 for all (20)"
    )
    p.add_argument(
        "--python",
        action="append",
        metavar="PATH",
        help="certify on this Python too; may be repeated",
    )


def _gist(p: Any) -> None:
    p.add_argument("edition", metavar="FILE.py", help="or the name of an edition of the package")
    p.add_argument("-o", "--output", metavar="DIR", help="the folder to write (gist-<edition>)")
    p.add_argument(
        "--steps", type=int, default=20, metavar="N", help="certify over N steps, 0 for all (20)"
    )
    p.add_argument(
        "--publish",
        action="store_true",
        help="create the gist; the token is read from GITHUB_TOKEN",
    )
    p.add_argument("--update", metavar="ID", help="with --publish: change this gist instead")
    p.add_argument(
        "--secret", action="store_true", help="with --publish: a gist that is not listed"
    )
    p.add_argument(
        "--api",
        default="https://api.github.com",
        metavar="URL",
        help="another server of the same API",
    )


def _remind(p: Any) -> None:
    p.add_argument("--editions", metavar="DIR", help="where they are (the package's own)")
    p.add_argument("--every", metavar="TIME", help="go on reminding: 30s, 10m, 1h, 1d")
    p.add_argument(
        "--times", type=int, default=0, metavar="N", help="with --every: end after N reminders"
    )
    p.add_argument(
        "--install", choices=("cron", "systemd"), help="write the user's timer, and show it"
    )
    p.add_argument("--uninstall", choices=("cron", "systemd"), help="remove the user's timer")
    p.add_argument(
        "--state", metavar="FILE", help="what was reminded of last (the user's state folder)"
    )
