"""Is a model file what it says it is?

A checkpoint holds its settings, the source of its documents, and what trained it. `verify` trains
it again and compares every bit, where the bits can be equal at all. An export (.html, .js) holds
weights; `verify` compares them with the checkpoint it was made from.
"""

from __future__ import annotations

from array import array
from pathlib import Path

from .. import checkpoint, corpus, exporting, files
from ..checkpoint import THEN, Checkpoint, MadeBy
from ..engines import AUTO, guessed_engine
from ..errors import ConfigError, MissingPartError, quote
from ..training import REFERENCE_BITS, Session, recorded_engine
from .compare import Difference
from .floats import first_apart, show, ulps_apart
from .verdict import CaseResult, Verdict

NUMBERS = ("parameters", "m", "v")
SUFFIXES = (".safetensors", ".html", ".js")
COMPARES = "every bit of every number it holds"


def is_model(what: str) -> bool:
    """Whether a file of this name is a model file or an export."""
    return what.endswith(SUFFIXES)


def verify(what: str, original: str | None, data: list[str] | None) -> Verdict:
    """Compare a checkpoint with the same run made again, or an export with its checkpoint.

    what: the path. original: the checkpoint of an export. data: files with the documents, if they
    are no longer where the checkpoint says.
    Raises ConfigError for options that contradict each other; InputError, DataError and
    CheckpointError for files.
    """
    if what.endswith(".safetensors"):
        if original:
            raise ConfigError(
                "a checkpoint is compared with its own training, done again",
                where="option --original",
            )
        return _trained_again(what, data)
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


def _trained_again(path: str, data: list[str] | None) -> Verdict:
    model = checkpoint.load(path)
    documents = _documents(model, data)
    made_by, step = model.made_by, model.state.step
    engine = made_by.engine or guessed_engine(model.state)
    result = CaseResult(
        f"{model.data.origin}, seed {model.config.seed}, {step} steps, engine {engine}", "same"
    )
    verdict = Verdict(
        "its own settings, trained again", Path(path).name, "bits", 0, [result], compares=COMPARES
    )
    try:
        session = _session(model, documents, engine)
    except MissingPartError as error:
        result.answer, result.explanation = "not comparable", error.what
        return verdict
    result.case = result.case.removesuffix(engine) + session.engine.name
    # A block never ends after the step of the checkpoint.
    blocks = session.run(lambda: False, every=max(1, step))
    while session.step < step:
        next(blocks)
    _compare(result, session.checkpoint(), {name: getattr(model.state, name) for name in NUMBERS})
    if result.answer == "different" and (reasons := _reasons(made_by, session)):
        result.answer, result.difference = "not comparable", None
        result.explanation = f"the bits differ, and may do so because {reasons}"
    return verdict


def _session(model: Checkpoint, documents: corpus.Corpus, engine: str) -> Session:
    """The run of a checkpoint, not begun, on the engine and the instruction set that it records.

    Raises MissingPartError where these are not here, so that bits cannot be compared.
    """
    made_by = model.made_by
    if engine in REFERENCE_BITS and model.config.plain:
        engine = AUTO  # the quickest engine with these bits
    if engine == AUTO or not made_by.engine or not recorded_engine(model).bound:
        return Session.start(model.config, documents, engine)
    if THEN in made_by.instruction_set:
        raise MissingPartError(
            f"the model was trained on more than one instruction set ({made_by.instruction_set}), "
            f"and no single run has its bits"
        )
    return Session.start(model.config, documents, engine, instruction_set=made_by.instruction_set)


def _reasons(made_by: MadeBy, session: Session) -> str:
    """Why the bits of this machine's run may differ from those of the run that made the model.

    "" where there is no such reason, so that the model is another one.
    """
    here, depends = MadeBy.here(session.engine), bool(session.engine.bound)
    if not made_by.engine:
        return (
            "the file, of format version 1, does not say which engine and instruction set made it"
            if depends
            else ""
        )
    names = ["libm", "platform", *(["microgpt"] if depends else [])]
    return "; ".join(
        f"{name} was {getattr(made_by, name) or 'unknown'} there and is {getattr(here, name)} here"
        for name in names
        if getattr(made_by, name) != getattr(here, name)
    )


def _compare(result: CaseResult, original: Checkpoint, actual: dict[str, array[float]]) -> None:
    """Fill the result: the first number, in file order, whose bits differ from the original's."""
    for what, numbers in actual.items():
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
    """(tensor, row, column) of the number with this index in the file."""
    for tensor, (rows, columns) in model.config.shapes(model.tokenizer.vocab_size).items():
        if index < rows * columns:
            return tensor, index // columns, index % columns
        index -= rows * columns
    return "beyond the last tensor", 0, 0


def _documents(model: Checkpoint, data: list[str] | None) -> corpus.Corpus:
    """The documents that the checkpoint names, or those in `data`, which must be the same."""
    origin = model.data.origin
    if not data:
        return corpus.read_again(origin, model.data.fingerprint)
    source = corpus.read(data, origin.column, origin.dedupe)
    where = f"option --data {quote(', '.join(data))}"
    model.data.require(source, where=where, fix=f"--data with {origin}")
    return source


def _export(path: str, original: str) -> Verdict:
    model = checkpoint.load(original)
    text = files.read_text(path, "the export")
    held = exporting.embedded(text, path)
    if "val" in held["config"]:  # the name of held_out in earlier versions
        held["config"]["held_out"] = held["config"].pop("val")
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


def _run_in_node(result: CaseResult, model: Checkpoint, text: str) -> None:
    """Compare what the module computes with what the engine does.

    It runs the module only if `export` writes the same text, so it never runs other code.
    """
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
