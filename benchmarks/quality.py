"""Held-out loss against seconds of training, for every preset, beside what counting reaches on the same split.

    python benchmarks/quality.py               measure, write quality.json and docs/quality.svg
    python benchmarks/quality.py --plot        draw from the figures kept

Names of the built-in list, 1,000 of them held out; the fast engine, as many threads as it chooses. Seconds are wall
time of training alone, between about 30 looks at the held-out names. Needs matplotlib.
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


def never() -> bool:
    return False


def start(preset: str) -> Session:
    source = corpus.builtin()
    values = recipe(preset, source.documents) | {"val": HELD_OUT / len(source.documents)}
    return Session.start(Config(**values), source, "fast")


def curve(preset: str) -> list[tuple[float, float]]:
    """(seconds of training, held-out nats a token), the first before any training."""
    session = start(preset)
    every = max(1, session.config.num_steps // LOOKS)
    seconds = 0.0
    found = [(0.0, held_out_loss(session))]
    began = time.perf_counter()
    for _ in session.run(never, every):
        if session.step % every == 0 or session.step == session.config.num_steps:
            seconds += time.perf_counter() - began
            found.append((seconds, held_out_loss(session)))
            print(f"{preset}: step {session.step:,}, {seconds:.3f} s, {found[-1][1]:.4f}", file=sys.stderr)
            began = time.perf_counter()
    return found


def held_out_loss(session: Session) -> float:
    return scoring.evaluate(session.engine, session.tokenizer, session.config, session.held_out, never).loss


def baselines() -> dict[str, float]:
    """Nats a token of the uniform and the n-gram models, counted in what the presets train on."""
    session = start("reference")
    encode = session.tokenizer.encode
    counts = ngrams.NGrams(map(encode, session.documents), session.tokenizer.vocab_size)
    return counts.losses(map(encode, session.held_out), session.config.block_size)


def plot(found: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "quality", "font.size": 10}
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for name, loss in found["baselines"].items():
        if name not in ("uniform", "1-gram"):
            axis.axhline(loss, color="0.6", linewidth=0.8, linestyle="--")
            at = axis.get_yaxis_transform()
            axis.annotate(f"{name} {loss:.2f}", (1, loss), (4, -3), at, "offset points", fontsize=8)
    for name, points in found["presets"].items():
        seconds, losses = zip(*points[1:])
        axis.semilogx(seconds, losses, "o-", markersize=3, label=f"{name}: {losses[-1]:.3f} in {seconds[-1]:.2g} s")
    axis.set_ylim(top=2.8)
    axis.set_xlabel("seconds of training (wall time)")
    axis.set_ylabel("held-out nats a token")
    axis.legend(frameon=False)
    m = found["machine"]
    axis.set_title(f"{HELD_OUT:,} held-out names; {m['processor']}, {m['cores']} cores, {m['date']}", fontsize=10)
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", action="store_true", help="draw from the figures kept")
    if not parser.parse_args().plot:
        presets = {name: curve(name) for name in PRESETS}
        found = {"machine": benchmarking.machine(), "baselines": baselines(), "presets": presets}
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    plot(json.loads(RESULTS.read_text()))


if __name__ == "__main__":
    main()
