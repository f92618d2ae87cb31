"""`microgpt train`: fit, save, print samples."""

from __future__ import annotations

import os
import signal
import stat
import sys
from argparse import Namespace
from contextlib import ExitStack, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from .. import checkpoint as checkpoints
from .. import corpus, files, scoring
from ..config import Config
from ..errors import ConfigError, MicrogptError, StorageError
from ..progress import progress
from ..recipes import PRESETS, recipe
from ..recording import Recorder
from ..sampling import Wanted, sample
from ..training import Interrupt, Session, settle_block_size
from . import Face, never

INTERRUPTED = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def train(args: Namespace, face: Face) -> int:
    """Fit, save, print samples."""
    wanted = Wanted(temperature=args.temperature)
    path = _output_for(args.files) if args.output is None else args.output
    output = _Output(path, args.resume, args.force)
    _require_different([output.path, args.trace, args.log, args.plot])
    with ExitStack() as stack:
        stack.enter_context(files.lock(output.path))
        session = _session(args, output.path)
        recorder = Recorder(args.trace, args.log, args.plot, args.force, session.step)
        stack.callback(recorder.close)
        _announce(session, args, face)
        code = _train(session, recorder, args, output, face)
        if code:
            return code
        _print_samples(session, args, wanted, face)
    return 0


class _Output:
    """Where the model goes. A run that is broken off leaves another run's model alone and saves beside it."""

    def __init__(self, path: str, resume: bool, force: bool) -> None:
        if path in ("", "-"):
            raise ConfigError(
                "a model goes to a file", where="option --output", fix="-o NAME.safetensors"
            )
        self.path, self._other = path, not resume and os.path.exists(path)
        stem, suffix = os.path.splitext(path)
        self._beside = f"{stem}.partial{suffix}"
        if not resume:
            files.require_replaceable(path, checkpoints.is_ours, force)
        if self._other:
            files.require_replaceable(self._beside, checkpoints.is_ours, force)

    def save(self, session: Session) -> str:
        """At its place: the run is finished, or under way and wanted there. Returns the path."""
        checkpoints.save(self.path, session.checkpoint(), locked=True)
        self._other = False
        return self.path

    def save_broken_off(self, session: Session) -> str:
        """Returns what to tell: the path, and how to go on from it."""
        if not self._other:
            return f"{self.save(session)}; go on with --resume"
        checkpoints.save(self._beside, session.checkpoint())
        return f"{self._beside}, {self.path} is as it was; go on with --resume -o {self._beside}"


def _require_different(outputs: list[str | None]) -> None:
    paths = [os.path.realpath(path) for path in outputs if path]
    if len(set(paths)) < len(paths):
        raise ConfigError(
            "two outputs have the same path", where="options -o, --trace, --log, --plot"
        )


def _output_for(sources: list[str]) -> str:
    """names.safetensors for names.txt, in the current folder."""
    stem = "names" if not sources else Path(sources[0]).stem if sources[0] != "-" else "model"
    return f"{stem or 'model'}.safetensors"


def _session(args: Namespace, output: str) -> Session:
    """A new run, or the one to resume, whose own settings hold."""
    source = corpus.read(args.files, args.column, args.dedupe)
    if args.resume:
        checkpoint = checkpoints.load(output)
        for name, value in _wanted(args, source.documents).items():
            if getattr(checkpoint.config, name) != value:
                raise ConfigError(
                    f"the run to resume has {name} {getattr(checkpoint.config, name)}, not {value}",
                    where=f"option {name}, {output}",
                    fix="leave the option out, or train anew without --resume",
                )
        return Session.resume(checkpoint, source, args.engine, args.threads)
    return Session.start(config_from(args, source.documents), source, args.engine, args.threads)


def _wanted(args: Namespace, documents: list[str]) -> dict[str, Any]:
    """The hyper-parameters that stand on the command line, and those of its preset."""
    named = {item.name: getattr(args, item.name, None) for item in fields(Config)}
    given = {name: value for name, value in named.items() if value is not None}
    if "block_size" in given:
        given["block_size"] = settle_block_size(given["block_size"], documents)
    if (
        args.preset == "reference"
    ):  # which must be what a run to resume has, and is what a new one gets
        return {
            name: getattr(Config(), name)
            for preset in PRESETS.values()
            if preset
            for name in preset.fields
        } | given
    return (recipe(args.preset, documents, given.get("num_steps")) if args.preset else {}) | given


def config_from(args: Namespace, documents: list[str]) -> Config:
    """The hyper-parameters of the command line, the rest at their defaults."""
    return Config(**_wanted(args, documents))


def _announce(session: Session, args: Namespace, face: Face) -> None:
    """What is about to be trained: on stdout the transcript's header, on stderr what a user should know."""
    vocab_size, config = session.tokenizer.vocab_size, session.config
    count = config.parameter_count(vocab_size)
    if args.transcript:
        documents = session.data.documents
        face.data(f"num docs: {documents}\nvocab size: {vocab_size}\nnum params: {count}")
    face.say(
        f"{session.data.origin}: {session.data.documents:,} documents, {vocab_size} tokens; "
        f"{count:,} parameters, engine {session.engine.name}"
    )
    cut = (
        0
        if config.windows
        else sum(len(document) >= config.block_size for document in session.documents)
    )
    if cut:
        face.say(
            f"{cut:,} documents are longer than block_size {config.block_size} and cut; "
            "--block-size auto fits all, --windows uses all in pieces"
        )
    if not args.files and _is_pipe(0):
        face.say("standard input is not read: give - as the file's name to train on it")


def _is_pipe(descriptor: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def _train(
    session: Session, recorder: Recorder, args: Namespace, output: _Output, face: Face
) -> int:
    """Run to the end, or to a signal; save. Returns the exit code."""
    num_steps = session.config.num_steps
    bar = progress(session.step, num_steps, sys.stderr, face.err.on, face.quiet, face.say)
    every = args.save_every or recorder.every
    try:
        with Interrupt(*INTERRUPTED) as interrupt:
            for block in session.run(interrupt.stop, every if not recorder.every else 1):
                recorder.update(block, session.engine)
                if args.transcript:
                    for step in block:
                        face.data(f"step {step.step:4d} / {num_steps:4d} | loss {step.loss:.4f}")
                bar.update([step.loss for step in block])
                if args.save_every and session.step % args.save_every == 0:
                    output.save(session)
            # Here, where a signal waits for its end.
            saved = (
                output.save(session)
                if session.step == num_steps
                else output.save_broken_off(session)
            )
    except (
        StorageError,
        BrokenPipeError,
    ):  # of a log or the transcript: the steps made need not be lost
        with suppress(MicrogptError):
            face.say(f"saved as of step {session.step:,}: {output.save_broken_off(session)}")
        raise
    finally:
        bar.close()
    if interrupt.received is not None:
        face.say(f"stopped after step {session.step:,} of {num_steps:,}, saved {saved}")
        return INTERRUPTED[signal.Signals(interrupt.received)]
    face.say(f"saved {saved}")
    if session.held_out:
        found = scoring.evaluate(session.gpt, session.held_out, never)
        face.say(f"held out {found.documents:,} documents: {found.loss:.4f} nats a token")
    return 0


def _print_samples(session: Session, args: Namespace, wanted: Wanted, face: Face) -> None:
    """The reference's samples: its coins follow its weights. Those that stand in the list are dimmed."""
    if args.transcript:
        face.data("\n--- inference (new, hallucinated names) ---")
    found = sample(session.gpt, args.samples, wanted, session.draws, never)
    known = frozenset(session.documents) if face.out.on else frozenset()
    for i, text in enumerate(found):
        shown = face.shown(text)
        line = f"sample {i + 1:2d}: {shown}" if args.transcript else shown
        face.data(face.out.dim(line) if text in known else line)
