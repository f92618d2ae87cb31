"""Is a model file what it says? A checkpoint is trained anew and compared; an export is compared with its checkpoint.

A checkpoint holds its settings and where its documents came from: the same run gives the same bits, or the file is
not what they say. An export (.html, .js) holds weights: they are the checkpoint's bits, or it is another model.
"""

from __future__ import annotations

from array import array
from pathlib import Path

from .. import checkpoint, corpus, exporting, files
from ..checkpoint import Checkpoint
from ..engines import trained_by
from ..errors import ConfigError, DataError, MissingPartError, quote
from ..training import Session
from .compare import Difference
from .floats import first_apart, show, ulps_apart
from .verdict import CaseResult, Verdict

NUMBERS = ("parameters", "m", "v")
SUFFIXES = (".safetensors", ".html", ".js")
COMPARES = "every bit of every number it holds"


def is_model(what: str) -> bool:
    """Whether a name is that of a model file."""
    return what.endswith(SUFFIXES)


def verify(what: str, original: str | None, data: list[str] | None) -> Verdict:
    """A checkpoint against its own run anew, or an export against its checkpoint, at level bits.

    Raises ConfigError for options that do not belong together, InputError, DataError, CheckpointError for files.
    """
    if what.endswith(".safetensors"):
        if original:
            raise ConfigError(
                "a checkpoint is compared with its own run anew", where="option --original"
            )
        return _trained_anew(what, data)
    if not original or not original.endswith(".safetensors"):
        raise ConfigError(
            "an export is compared with the model it was made from",
            where="option --original",
            fix=f"microgpt verify {Path(what).name} --original MODEL.safetensors",
        )
    if data:
        raise ConfigError(
            "an export is compared with a model, not with documents", where="option --data"
        )
    return _export(what, original)


def _trained_anew(path: str, data: list[str] | None) -> Verdict:
    found = checkpoint.load(path)
    session = Session.start(found.config, _documents(found, data), trained_by(found.state))
    blocks = session.run(
        lambda: False, every=max(1, found.state.step)
    )  # no block goes past the step it stands at
    while session.step < found.state.step:
        next(blocks)
    case = f"{found.data.origin}, seed {found.config.seed}, {found.state.step} steps, engine {session.engine.name}"
    result = CaseResult(case, "same")
    _compare(result, session.checkpoint(), {name: getattr(found.state, name) for name in NUMBERS})
    return Verdict(
        "its own settings trained anew", Path(path).name, "bits", 0, [result], compares=COMPARES
    )


def _compare(result: CaseResult, original: Checkpoint, found: dict[str, array[float]]) -> None:
    """Fill the result: the first number, in file order, whose bits differ."""
    for what, numbers in found.items():
        expected = getattr(original.state, what)
        result.numbers += len(expected)
        index = first_apart(expected.tobytes(), numbers.tobytes(), 0)
        if index is None:
            continue
        a, b = expected[index], numbers[index] if index < len(numbers) else None
        apart = None if b is None else ulps_apart(a, b)
        tensor, row, column = _place(original, index)
        where = f"the {what}: {tensor}, row {row}, column {column}"
        result.answer = "different"
        result.difference = Difference(
            what, where, show(a), show(b), original.state.step, tensor, row, column, apart
        )
        return


def _place(model: Checkpoint, index: int) -> tuple[str, int, int]:
    """(tensor, row, column) of a number by its place in the file."""
    for tensor, (rows, columns) in model.config.shapes(model.tokenizer.vocab_size).items():
        if index < rows * columns:
            return tensor, index // columns, index % columns
        index -= rows * columns
    return "beyond the last tensor", 0, 0


def _documents(found: Checkpoint, data: list[str] | None) -> corpus.Corpus:
    """The documents the checkpoint names, or those of `data`, which must be the same ones."""
    origin = found.data.origin
    if not data:
        return corpus.again(origin, found.data.fingerprint)
    source = corpus.read(data, origin.column, origin.dedupe)
    if source.fingerprint() != found.data.fingerprint:
        raise DataError(
            f"these are not the documents the model was trained on: {len(source.documents):,} documents here, "
            f"{found.data.documents:,} there, or other ones",
            where=f"option --data {quote(', '.join(data))}",
            fix=f"--data with {origin}",
        )
    return source


def _export(path: str, original: str) -> Verdict:
    model = checkpoint.load(original)
    text = _text(path)
    held = exporting.embedded(text, path)
    result = CaseResult("its weights", "same")
    for name, expected in (
        ("config", model.config.to_dict()),
        ("alphabet", list(model.tokenizer.alphabet)),
    ):
        if held[name] != expected:
            result.answer = "different"
            result.difference = Difference(
                name, f"the {name}", quote(str(expected)), quote(str(held[name]))
            )
            return Verdict(original, Path(path).name, "bits", 0, [result], compares=COMPARES)
    _compare(result, model, {name: held[name] for name in NUMBERS if name in held})
    if result.answer == "same" and path.endswith(".js"):
        _run_in_node(result, model, text)
    return Verdict(Path(original).name, Path(path).name, "bits", 0, [result], compares=COMPARES)


def _text(path: str) -> str:
    try:
        return files.read(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            "the export is not UTF-8 text", where=f"{quote(path)}, byte {error.start}"
        ) from error


def _run_in_node(result: CaseResult, model: Checkpoint, text: str) -> None:
    """What the module computes beside what the engine does. Runs no code but that which `export` writes."""
    if text != exporting.to_js(model, [])[".js"]:
        result.notes.append(
            "weights compared, nothing run: its code is not what this version exports"
        )
        return
    try:
        apart, by = exporting.check_js(model, text)
    except MissingPartError as error:
        result.notes.append(f"weights compared, nothing run: {error.what}")
        return
    result.notes.append(f"{by}: largest difference {apart:.1e}")
    if not apart <= exporting.CLOSE:
        result.answer, result.explanation = (
            "different",
            f"its scores differ by more than {exporting.CLOSE:g} nats",
        )
