"""Writes the kept model files of one format version, with the microgpt that is importable.

    python make.py FOLDER HELD_OUT_FLAG      # for instance: python make.py version-1 --val

The files of a version are written once, by code of that version, and never again: users have such
files. `expected.json` beside them records what that code computed from them.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from microgpt import MicroGPT, _native, checkpoint, corpus
from microgpt.training import Session

HERE = Path(__file__).parent
TEXTS = ["ab", "cab", "", "bacab"]
SIZE = ["--n-embd", "4", "--n-head", "2", "--block-size", "5", "--steps", "12", "--seed", "7"]
BETTER = ["--muon", "0.9", "--weight-decay", "0.1", "--input-dropout", "0.2", "--warmup", "3"]
# name -> (flags, environment)
FILES = {
    "scalar": (["list.txt", "--engine", "scalar"], {}),
    "exact": (["list.txt", "--engine", "exact"], {}),
    "fast": (["list.txt", "--engine", "fast", "--batch-size", "2"], {}),
    "fast-baseline": (["list.txt", "--engine", "fast"], {"MICROGPT_ISA": "baseline"}),
    "better": (["list.txt", "--batch-size", "2", *BETTER], {}),
    "windows": (["list.txt", "--windows", "--batch-size", "3"], {}),
    "held-out": (["list.txt", "HELD_OUT", "0.25"], {}),
    "stdin": (["-"], {}),
    "column": (["table.csv", "--column", "name", "--dedupe"], {}),
    "builtin": ([], {}),
}
STOP = 8  # of 12 steps: the files are of runs under way


def main(folder: str, held_out: str) -> None:
    """Write all files and what this code computes from them."""
    (HERE / folder).mkdir(exist_ok=True)
    os.chdir(HERE)
    expected = {}
    for name, (flags, environment) in FILES.items():
        path = HERE / folder / f"{name}.safetensors"
        flags = [held_out if flag == "HELD_OUT" else flag for flag in flags]
        _train(path, flags, environment)
        expected[name] = _computed(path, environment)
    model = MicroGPT(n_embd=4, n_head=2, block_size=5, num_steps=12, seed=7)
    model.fit(Path("list.txt").read_text().split()).save(HERE / folder / "python.safetensors")
    expected["python"] = _computed(HERE / folder / "python.safetensors", {})
    text = json.dumps(expected, indent=1) + "\n"
    (HERE / folder / "expected.json").write_text(text)


def _train(path: Path, flags: list[str], environment: dict[str, str]) -> None:
    """A run of the command, stopped after STOP steps."""
    code = (
        "import sys; from microgpt import cli, checkpoint; save = checkpoint.save\n"
        "class Enough(KeyboardInterrupt): pass\n"
        "def stop(path, model, **rest):\n"
        "    save(path, model, **rest)\n"
        "    raise Enough\n"
        "checkpoint.save = stop\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "train", *flags, *SIZE, "-q", "-o", str(path)]
    documents = Path("list.txt").read_bytes()
    done = subprocess.run(
        [*command, "--save-every", str(STOP)], input=documents, env=os.environ | environment
    )
    assert done.returncode == 130


def _computed(path: Path, environment: dict[str, str]) -> dict[str, object]:
    """Scores, and the finished run: engine, losses of the rest, SHA-256 of all its numbers."""
    os.environ.update(environment)
    model = checkpoint.load(path)
    texts = [text for text in TEXTS if set(text) <= set(model.tokenizer.alphabet)]
    scores = MicroGPT.load(path).score_samples(texts)
    data = model.data
    if data.origin.repeatable:
        source = corpus.read_again(data.origin, data.fingerprint)
    else:
        source = corpus.Corpus(Path("list.txt").read_text().split(), data.origin)
    session = Session.resume(model, source, "auto")
    losses = [step.loss.hex() for block in session.run(lambda: False) for step in block]
    state = session.engine.state()
    numbers = b"".join(part.tobytes() for part in (state.parameters, state.m, state.v))
    isa = environment.get("MICROGPT_ISA", _native.about()["isas"][0])
    for name in environment:
        del os.environ[name]
    return {
        "step": model.state.step,
        "texts": texts,
        "scores": [score.hex() for score in scores],
        "engine": session.engine.name,
        "instruction_set": isa if session.engine.name == "fast" else "",
        "losses": losses,
        "finished": hashlib.sha256(numbers).hexdigest(),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
