"""Is a model file what it says it is?

A checkpoint holds its settings, the source of its documents, and what trained it. `verify` trains
it again and compares every bit, where the bits can be equal at all. An export (.html, .js) holds
weights; `verify` compares them with the checkpoint it was made from.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import __version__, checkpoint, corpus, exporting, files
from ..checkpoint import Checkpoint
from ..engines import AUTO, guessed_engine
from ..errors import ConfigError, MissingPartError, quote
from ..made_by import THEN, MadeBy, depends_on
from ..resuming import REFERENCE_BITS, recorded_engine
from ..training import Session
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
    anew, reasons = session.checkpoint(), _reasons(made_by, session)
    if not _same_entries(result, _entries(anew), _entries(model)):
        return verdict  # neither engine nor C library is a reason for that
    _compare(result, anew, {name: getattr(model.state, name) for name in NUMBERS})
    if result.answer == "same":
        states = ({"rng_state": json.loads(run.draws.state())} for run in (anew, model))
        _same_entries(result, *states)
    if result.answer == "different" and reasons:
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
    if made_by.instruction_set.startswith("unknown"):
        raise MissingPartError(
            f"the model file does not say on which instruction set its training began "
            f"({made_by.instruction_set})"
        )
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
    here, names = MadeBy.here(session.engine), depends_on(session.engine.bound)
    if not made_by.engine:
        return (
            "the file, of format version 1, does not say which engine and instruction set made it"
            if session.engine.bound
            else ""
        )
    return "; ".join(
        f"{name} was {getattr(made_by, name) or 'unknown'} there and is {getattr(here, name)} here"
        for name in names
        if name != "instruction_set"  # the session has the recorded one
        and getattr(made_by, name) != getattr(here, name)
    )


def _compare(result: CaseResult, original: Checkpoint, actual: dict[str, array[float]]) -> None:
    """Fill the result: the first number, in file order, whose bits differ from the original's."""
    for what, numbers in actual.items():
        expected = getattr(original.state, what)
        result.numbers += len(expected)
        index = first_apart(expected.tobytes(), numbers.tobytes(), 0)
        if index is None:
            continue
        a = expected[index] if index < len(expected) else None
        b = numbers[index] if index < len(numbers) else None
        apart = None if a is None or b is None else ulps_apart(a, b)
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
    result = CaseResult("its weights", "same")
    verdict = Verdict(Path(original).name, Path(path).name, "bits", 0, [result], compares=COMPARES)
    expected = {
        "config": model.config.to_dict(),
        "alphabet": list(model.tokenizer.alphabet),
        "step": model.state.step,
        "rng_state": json.loads(model.draws.state()),
    }
    if _same_entries(result, {name: expected[name] for name in expected if name in held}, held):
        _compare(result, model, {name: held[name] for name in NUMBERS if name in held})
    if result.answer == "same" and not _is_our_export(path, text, model, held):
        result.answer, result.explanation = "not comparable", _other_code(text)
    elif result.answer == "same" and path.endswith(".js"):
        _run_in_node(result, model, text)
    return verdict


def _is_our_export(path: str, text: str, model: Checkpoint, held: dict[str, Any]) -> bool:
    """Whether this version's `export` writes this text, byte for byte, for the model.

    A page may hold the model's dataset, which is then taken from the page and compared with the
    SHA-256 that the model records.
    """
    if path.endswith(".js"):
        return text == exporting.to_js(model, [])[".js"]
    documents: list[str] = []
    if held.get("has_list"):
        try:
            documents = held["lists"][0]["text"].removesuffix("\n").split("\n")
            source = corpus.Corpus(documents, model.data.origin)
            if source.fingerprint() != model.data.fingerprint:
                return False
        except (LookupError, TypeError, AttributeError, UnicodeEncodeError):
            return False
    return text == exporting.to_html(model, documents)[".html"]


def _other_code(text: str) -> str:
    """Why an export with the model's numbers cannot be called the same, and what to do."""
    claimed = re.search(r"Made by microgpt (\S{1,40})\.\n", text[:200])
    by = f"; it names microgpt {quote(claimed[1])} as its maker" if claimed else ""
    return (
        f"the numbers are the model's, but the text around them is not what microgpt "
        f"{__version__} exports, so nothing is known of what it computes{by}. An export of "
        f"another version must be compared by that version, or made again: microgpt export MODEL"
    )


def _entries(model: Checkpoint) -> dict[str, Any]:
    """What a checkpoint holds besides its numbers, where neither engine nor C library matters."""
    return {
        "alphabet": list(model.tokenizer.alphabet),
        "step": model.state.step,
        "data.documents": model.data.documents,
        "rng_state": json.loads(model.draws.state())[:2],  # the third number is computed by libm
    }


def _same_entries(
    result: CaseResult, original: Mapping[str, Any], actual: Mapping[str, Any]
) -> bool:
    """Fill the result: the first entry of the original that is another one in `actual`."""
    for name, expected in original.items():
        if actual[name] != expected:
            a, b = str(expected), str(actual[name])
            at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), 0)
            shown = slice(at - 20 if at > 60 else 0, None)  # a long entry: near the difference
            result.answer = "different"
            result.difference = Difference(
                name, f"the entry {name}", quote(a[shown]), quote(b[shown])
            )
            return False
    return True


def _run_in_node(result: CaseResult, model: Checkpoint, text: str) -> None:
    """Compare what the module computes with what the engine does.

    text: what `export` writes for the model, byte for byte, so no other code is run.
    """
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
