"""Train a model on a list of documents, save it, and print samples."""

from __future__ import annotations

import os
import signal
import stat
import sys
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack, suppress

from .. import checkpoint as checkpoints
from .. import corpus, files, transcript
from ..engines.contract import cannot_train
from ..errors import ConfigError, MicrogptError, StorageError, counted
from ..face import Face
from ..progress import Bar, Lines, progress
from ..run_log import RunLog
from ..sampling import Wanted, sample
from ..training import Interrupt, Session
from ._arguments import corpus_options, force_option, number
from ._settings import config_from, settings, training_options

EXAMPLES = """\
  microgpt train names.txt                     write names.safetensors, print 20 samples
  microgpt train products.csv --column title --block-size auto -o products.safetensors
  microgpt train names.txt --preset best -o best.safetensors
  microgpt train plays.txt --windows --block-size 64 --preset good
  microgpt train names.txt --transcript        print what the original script prints, byte for byte
  microgpt train names.txt --resume            continue an interrupted run
"""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of `microgpt train`."""
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="The documents, one a line; - is standard input. [default: built-in first names]",
    )
    _saving_options(parser)
    corpus_options(parser)
    _printing_options(parser)
    training_options(parser)


def _saving_options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "-o",
        "--output",
        metavar="PATH",
        help="The model file. [default: FILE with the suffix .safetensors, in this folder]",
    )
    force_option(parser)
    add(
        "--resume",
        action="store_true",
        help="Continue the run of the output file, with its own hyper-parameters.",
    )
    add(
        "--save-every",
        type=number("save_every"),
        default=0,
        metavar="N",
        help="Also save after every N steps; 0: only at the end. [default: %(default)s]",
    )
    add(
        "--trace",
        metavar="PATH",
        help="Write JSON Lines: step, loss, loss_hex, params_sha256 of each step.",
    )
    add(
        "--log",
        metavar="PATH",
        help="Write JSON Lines: step, loss, learning_rate, seconds of each step.",
    )
    add("--plot", metavar="PATH", help="Write the loss curve as an SVG image.")


def _printing_options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--samples",
        type=number("samples"),
        default=20,
        metavar="N",
        help="Print N samples after training. [default: %(default)s]",
    )
    add(
        "--temperature",
        type=number("temperature"),
        default=0.5,
        metavar="T",
        help="The temperature of these samples. [default: %(default)s]",
    )
    add(
        "--transcript",
        action="store_true",
        help="Print on standard output what the original script prints.",
    )


def run(args: Namespace, face: Face) -> int:
    """Train, save, print samples. Exit code 128 + n if signal n stopped the run."""
    wanted = Wanted(temperature=args.temperature)
    path = _output_for(args.files) if args.output is None else args.output
    output = _Output(path, args.resume, args.force)
    _require_different([output.path, args.trace, args.log, args.plot])
    with ExitStack() as stack:
        stack.enter_context(files.lock(output.path))
        session = _session(args, output.path)
        if session.step < session.config.num_steps and not session.engine.supports(session.config):
            raise cannot_train(session.engine.name)
        log = RunLog(args.trace, args.log, args.plot, args.force, session.step)
        stack.callback(log.close)
        _announce(session, args, face)
        code = _train(session, log, args, output, face)
        if code:
            return code
        _print_samples(session, args, wanted, face)
    return 0


class _Output:
    """Where the model is saved.

    An interrupted run does not overwrite the model of another run: it is saved in a file beside it.
    """

    def __init__(self, path: str, resume: bool, force: bool) -> None:
        if path in ("", "-"):
            raise ConfigError(
                "a model is written to a file, not to standard output",
                where="option --output",
                fix="-o NAME.safetensors",
            )
        self.path, self._holds_other = path, not resume and os.path.exists(path)
        self.replaced = ""  # in words, the model of another run that save() replaced
        stem, suffix = os.path.splitext(path)
        self._beside = f"{stem}.partial{suffix}"
        if not resume:
            files.require_replaceable(path, checkpoints.is_ours, force)
        if self._holds_other:
            files.require_replaceable(self._beside, checkpoints.is_ours, force)

    def save(self, session: Session) -> str:
        """Save at the output path itself. Returns the path."""
        if self._holds_other:
            self.replaced = _model_in_words(self.path)
        checkpoints.save(self.path, session.checkpoint(), locked=True)
        self._holds_other = False
        return self.path

    def save_interrupted(self, session: Session) -> str:
        """Save without overwriting another run. Returns the path and how to continue, in words."""
        if not self._holds_other:
            return f"{self.save(session)}; continue with --resume"
        checkpoints.save(self._beside, session.checkpoint())
        return f"{self._beside}, not {self.path}; continue with --resume -o {self._beside}"


def _model_in_words(path: str) -> str:
    """What a file of ours holds; "" for any other file."""
    with suppress(MicrogptError):
        return f"{path}, the model of step {checkpoints.load(path).state.step:,}"
    return ""


def _require_different(outputs: list[str | None]) -> None:
    paths = [os.path.realpath(path) for path in outputs if path]
    if len(set(paths)) < len(paths):
        raise ConfigError(
            "two outputs have the same path", where="options -o, --trace, --log, --plot"
        )


def _output_for(sources: list[str]) -> str:
    """The default output: names.safetensors for lists/names.txt."""
    if not sources:
        return "names.safetensors"
    stem, _ = os.path.splitext(os.path.basename(sources[0]))
    return f"{'model' if stem in ('', '-') else stem}.safetensors"


def _session(args: Namespace, output: str) -> Session:
    """A new run, or the run to resume, which must have the hyper-parameters given."""
    source = corpus.read(args.files, args.column, args.dedupe)
    if not args.resume:
        config = config_from(args, source.documents)
        return Session.start(config, source, args.engine, args.threads)
    checkpoint = checkpoints.load(output)
    for name, value in settings(args, source.documents).items():
        if getattr(checkpoint.config, name) != value:
            raise ConfigError(
                f"the run to resume has {name} {getattr(checkpoint.config, name)}, not {value}",
                where=f"option {name}, {output}",
                fix="leave the option out, or start a new run without --resume",
            )
    return Session.resume(checkpoint, source, args.engine, args.threads)


def _announce(session: Session, args: Namespace, face: Face) -> None:
    """Print the transcript's header, and say what is about to be trained on what."""
    vocab_size, config = session.tokenizer.vocab_size, session.config
    count = config.parameter_count(vocab_size)
    if args.transcript:
        face.data(transcript.header(session.data.documents, vocab_size, count))
    face.say(
        f"{session.data.origin}: {counted(session.data.documents, 'document')}, "
        f"{vocab_size} tokens; {count:,} parameters, engine {session.engine.name}"
    )
    if face.quiet:
        return
    too_long = (len(document) >= config.block_size for document in session.documents)
    if not config.windows and (cut := sum(too_long)):
        face.say(
            f"cut to block_size {config.block_size}: {counted(cut, 'document')}; "
            "--block-size auto avoids it, --windows trains on long documents in pieces"
        )
    if not args.files and _is_pipe(0):
        face.say("standard input is not read; to train on it, give - as FILE")


def _is_pipe(descriptor: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def _train(session: Session, log: RunLog, args: Namespace, output: _Output, face: Face) -> int:
    """Train to the end or to a signal, and save. Returns 128 + the signal's number, or 0."""
    num_steps = session.config.num_steps
    was_complete = session.step == num_steps
    bar = _progress(session, args, face)
    try:
        with Interrupt(*SIGNALS) as interrupt:
            for block in session.run(interrupt.stop, log.every or args.save_every):
                log.update(block, session.engine)
                if args.transcript:
                    for step in block:
                        face.data(transcript.step_line(step.step, num_steps, step.loss))
                bar.update([step.loss for step in block])
                if args.save_every and session.step % args.save_every == 0:
                    output.save(session)
            # Saved in here, so that a signal waits until the file is written.
            if was_complete:
                saved = output.path
            elif session.step == num_steps:
                saved = output.save(session)
            else:
                saved = output.save_interrupted(session)
    except (StorageError, BrokenPipeError):  # of a log or of stdout: keep the steps made so far
        with suppress(MicrogptError):
            face.say(f"saved after step {session.step:,}: {output.save_interrupted(session)}")
        raise
    finally:
        bar.close()
    if output.replaced:
        face.say(f"replaced {output.replaced}")
    if interrupt.received is not None:
        face.say(f"stopped after step {session.step:,} of {num_steps:,}, saved {saved}")
        return 128 + interrupt.received
    if was_complete:
        face.say(f"nothing was trained: the run of {saved} was complete at step {num_steps:,}")
    else:
        face.say(f"saved {saved}")
    _say_validation_loss(session, face)
    return 0


def _progress(session: Session, args: Namespace, face: Face) -> Lines | Bar:
    """The progress; none beside a transcript on the same terminal, which shows each step."""
    first, num_steps = session.step, session.config.num_steps
    if args.transcript and sys.stdout.isatty() and sys.stderr.isatty():
        return Lines(first, num_steps, lambda _: None)
    return progress(first, num_steps, sys.stderr, face.err.on, face.quiet, face.say)


def _say_validation_loss(session: Session, face: Face) -> None:
    """Say the loss on the held-out set, if there is one."""
    if session.held_out:
        from .. import scoring  # most runs hold nothing out

        held_out = scoring.evaluate(session.gpt, session.held_out, lambda: False)
        face.say(
            f"validation loss {held_out.loss:.4f} nats per token "
            f"on {counted(held_out.documents, 'held-out document')}"
        )


def _print_samples(session: Session, args: Namespace, wanted: Wanted, face: Face) -> None:
    """Print what the reference would print. Documents of the training set are dimmed."""
    if args.transcript:
        face.data(transcript.SAMPLES_TITLE)
    documents = sample(session.gpt, args.samples, wanted, session.draws, lambda: False)
    known = frozenset(session.documents) if face.out.on else frozenset()
    for i, document in enumerate(documents, 1):
        shown = face.shown(document)
        line = transcript.sample_line(i, shown) if args.transcript else shown
        face.data(face.out.dim(line) if document in known else line)
