"""Measure validation loss against seconds of training for every preset, and for n-grams.

    python benchmarks/quality.py                          the built-in names
    python benchmarks/quality.py surnames=FILE ...        these lists too
    python benchmarks/quality.py --plot                   draw from the figures kept

1,000 documents of each list are held out: those that `microgpt train --held-out` holds out with the
default seed. In a list with duplicates, such as the names, some also appear in the training set.
The table therefore also shows the loss on the held-out documents that do not.
The fast engine runs with the number of threads that it chooses.
Seconds are wall time of training alone.
The first list is evaluated about 30 times during training, for the curve.
Writes quality.json and docs/quality.svg, for which it needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from microgpt import benchmarking, corpus, ngrams, scoring
from microgpt.config import Config
from microgpt.recipes import PRESETS, recipe
from microgpt.training import Session

HERE = Path(__file__).parent
RESULTS, PLOT = HERE / "quality.json", HERE.parent / "docs" / "quality.svg"
HELD_OUT, LOOKS = 1000, 30
# "held out": loss on all held-out documents; "unseen": on those not in the training set
Losses = dict[str, float]


def never() -> bool:
    return False


def read(path: str) -> corpus.Corpus:
    return corpus.read([path] if path else [])


def start(preset: str, path: str) -> Session:
    source = read(path)
    config = Config(**recipe(preset, source.documents), held_out=HELD_OUT / len(source.documents))
    return Session.start(config, source, "fast")


def unseen(session: Session) -> list[str]:
    known = frozenset(session.documents)
    return [document for document in session.held_out if document not in known]


def losses(session: Session) -> Losses:
    def loss(documents: list[str]) -> float:
        return scoring.evaluate(session.gpt, documents, never).loss

    return {"held out": loss(session.held_out), "unseen": loss(unseen(session))}


def train(preset: str, path: str, looks: int) -> tuple[float, Losses, list[tuple[float, float]]]:
    """Seconds of training, the losses at its end, and the curve of (seconds, validation loss)."""
    session = start(preset, path)
    every = max(1, session.config.num_steps // looks)
    seconds, curve = 0.0, [(0.0, losses(session)["held out"])]
    began = time.perf_counter()
    for _ in session.run(never, every):
        if session.step % every == 0 or session.step == session.config.num_steps:
            seconds += time.perf_counter() - began
            curve.append((seconds, losses(session)["held out"]))
            began = time.perf_counter()
    return seconds, losses(session), curve


def counted(path: str) -> dict[str, Losses]:
    """The losses of the uniform and the n-gram models, counted in the training set."""
    session = start("reference", path)
    encode = session.tokenizer.encode
    counts = ngrams.NGrams(map(encode, session.documents), session.tokenizer.vocab_size)
    on = {"held out": session.held_out, "unseen": unseen(session)}
    evaluations = {
        name: counts.losses(map(encode, documents), sys.maxsize) for name, documents in on.items()
    }
    return {
        model: {name: evaluations[name][model] for name in on} for model in evaluations["held out"]
    }


def measure(
    path: str, looks: int, presets: list[str], kept: dict[str, Any] | None
) -> dict[str, Any]:
    """The figures of a list. Those in `kept` stay, except for the presets given."""
    result = kept or {"documents": len(read(path).documents), "models": counted(path), "curves": {}}
    for preset in presets:
        seconds, losses, curve = train(preset, path, looks)
        result["models"][preset] = {**losses, "seconds": seconds}
        result["curves"][preset] = curve
        print(f"{path or 'names'}, {preset}: {seconds:.2f} s, {losses}", file=sys.stderr)
    return result


def table(results: dict[str, Any]) -> str:
    """A Markdown table of the losses and seconds, preceded by the machine and the date."""
    m, lists = results["machine"], results["lists"]
    shown = ["2-gram", "5-gram", *PRESETS]
    lines = [
        f"{m['processor']}, {m['cores']} cores; {m['date']}. Seconds are wall time of training.",
        "",
    ]
    lines += [f"| 1,000 held out of | {' | '.join(shown)} |", "|---" * (len(shown) + 1) + "|"]
    for name, one in lists.items():
        for which in ("held out", "unseen"):
            cells = [_cell(one["models"][model], which) for model in shown]
            what = (
                f"{one['documents']:,} {name}"
                if which == "held out"
                else f"{name}, without those in the training set"
            )
            lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(model: dict[str, float], which: str) -> str:
    loss = f"{model[which]:.3f}"
    if which != "held out" or "seconds" not in model:
        return loss
    return (
        f"{loss} ({model['seconds']:.0f} s)"
        if model["seconds"] >= 10
        else f"{loss} ({model['seconds']:.2g} s)"
    )


def plot(results: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "quality", "font.size": 10}
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8, 5), layout="constrained")
    names = results["lists"]["names"]
    for name, loss in names["models"].items():
        if name.endswith("-gram") and name != "1-gram":
            axis.axhline(loss["held out"], color="0.6", linewidth=0.8, linestyle="--")
            at = axis.get_yaxis_transform()
            axis.annotate(
                f"{name} {loss['held out']:.2f}",
                (1, loss["held out"]),
                (4, -3),
                at,
                "offset points",
                size=8,
            )
    for name, points in names["curves"].items():
        seconds, values = zip(*points[1:])
        axis.semilogx(
            seconds,
            values,
            "o-",
            markersize=3,
            label=f"{name}: {values[-1]:.3f} in {seconds[-1]:.2g} s",
        )
    axis.set_ylim(top=2.8)
    axis.set_xlabel("seconds of training (wall time)")
    axis.set_ylabel("held-out nats a token")
    axis.legend(frameon=False)
    m = results["machine"]
    axis.set_title(
        f"{HELD_OUT:,} held-out names; {m['processor']}, {m['cores']} cores, {m['date']}",
        fontsize=10,
    )
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lists", nargs="*", metavar="NAME=FILE", help="further lists")
    parser.add_argument(
        "--only", action="append", metavar="PRESET", help="measure this one anew, keep the others"
    )
    parser.add_argument("--plot", action="store_true", help="draw from the figures kept")
    args = parser.parse_args()
    if not args.plot:
        lists = json.loads(RESULTS.read_text())["lists"] if args.only else {}
        for item in ["names=", *args.lists]:
            name, path = item.split("=", 1)
            lists[name] = measure(
                path, 1 if path else LOOKS, args.only or list(PRESETS), lists.get(name)
            )
        results = {"machine": benchmarking.machine(), "held_out": HELD_OUT, "lists": lists}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    plot(json.loads(RESULTS.read_text()))


if __name__ == "__main__":
    main()
