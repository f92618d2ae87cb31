"""The requests and the answers as pydantic models. The OpenAPI description is made from them.

A request that is out of range is refused here, before any other code sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from ..config import FIELDS

Text = Annotated[str, Field(max_length=10_000)]
# The server's ranges of the training settings, where they are narrower than those of Config.
_RANGES: dict[str, dict[str, Any]] = {
    "n_layer": {"ge": 1, "le": 8},
    "n_embd": {"ge": 1, "le": 256},
    "n_head": {"ge": 1, "le": 64},
    "block_size": {"ge": 1, "le": 512},
    "num_steps": {"ge": 1, "le": 100_000},
    "batch_size": {"ge": 1, "le": 256},
    "warmup": {"ge": 0, "le": 100_000},
    # Config's highest values of these are the floats just below 1.
    "beta1": {"ge": 0, "lt": 1},
    "beta2": {"ge": 0, "lt": 1},
    "input_dropout": {"ge": 0, "lt": 1},
    "muon": {"ge": 0, "lt": 1},
}
_NOT_SERVED = ("held_out",)  # the server trains on all documents of a request


class Strict(BaseModel):
    """Refuses unknown names, numbers in quotes, and NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class SampleRequest(Strict):
    """Samples as `microgpt sample` generates them; the same seed gives the same samples."""

    n: int = Field(20, ge=1, le=1000)
    temperature: float = Field(0.5, ge=1e-3, le=1e6)
    top_k: int = Field(0, ge=0, le=2**31 - 1)
    top_p: float = Field(1.0, gt=0, le=1)
    prefix: Text = ""
    min_len: int = Field(0, ge=0, le=10_000)
    max_len: int | None = Field(None, ge=0, le=10_000)
    novel: bool = False
    unique: bool = False
    seed: int | None = Field(None, ge=0, le=2**64 - 1)


class SampleAnswer(BaseModel):
    """The samples, and the seed that was given or drawn."""

    strings: list[str]
    seed: int


class ScoreRequest(Strict):
    """Documents to score."""

    strings: list[Text] = Field(max_length=10_000)


class Scored(BaseModel):
    """A document's score.

    log_probability: in nats, the end included; null where it is minus infinity.
    cut: whether the document is longer than the block.
    """

    text: str
    log_probability: float | None
    tokens: int
    cut: bool


class ScoreAnswer(BaseModel):
    """The scores, in the order of the request."""

    scores: list[Scored]


class NextRequest(Strict):
    """The beginning of a document."""

    prefix: Text = ""


class NextAnswer(BaseModel):
    """The probability of each next token.

    tokens: the characters of the alphabet, then "" for the end.
    """

    tokens: list[str]
    probabilities: list[float]


class ExplainRequest(Strict):
    """A document to explain, at least one character long."""

    text: Text = Field(min_length=1)


class ExplainAnswer(BaseModel):
    """The model's work on a document: position t has read tokens[0..t] and predicts tokens[t + 1].

    losses: in nats, null where infinite.
    """

    text: str
    tokens: list[str]
    alphabet: list[str]
    probabilities: list[list[float]]
    losses: list[float | None]
    loss: float | None
    attention: list[list[list[list[float]]]]


class Training(Strict):
    """Documents, and the settings of `microgpt train`.

    A preset sets what the request does not. The answer is a stream of events: step, done or error.
    """

    documents: list[Text] = Field(min_length=1, max_length=100_000)
    preset: Literal["reference", "good", "best"] = "reference"


def _settings() -> dict[str, Any]:
    """The fields of Config, as pydantic takes them: name -> (type, default and range)."""
    settings: dict[str, Any] = {}
    for item in FIELDS.values():
        if item.name in _NOT_SERVED:
            continue
        kind, low = type(item.default), "gt" if item.open_low else "ge"
        own = {} if kind is bool else {low: item.low, "le": item.high}
        settings[item.name] = (kind, Field(item.default, **_RANGES.get(item.name, own)))
    return settings


if TYPE_CHECKING:
    TrainRequest = Training
else:
    TrainRequest = create_model(
        "TrainRequest", __base__=Training, __doc__=Training.__doc__, **_settings()
    )


class Problem(BaseModel):
    """What is wrong, where, and how to fix it."""

    what: str
    where: str
    fix: str


class ErrorAnswer(BaseModel):
    """The body of every refusal."""

    error: Problem


class Health(BaseModel):
    """Whether the server works; model: whether it has one."""

    status: str
    model: bool
