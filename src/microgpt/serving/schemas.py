"""What requests and answers look like: the source of the OpenAPI description. Ranges are checked here first."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..config import Config

Text = Annotated[str, Field(max_length=10_000)]
_default = Config()


class Strict(BaseModel):
    """No unknown names, no numbers in quotes, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class SampleRequest(Strict):
    """Strings as `microgpt sample` makes them; the same seed gives the same ones."""

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
    """The seed is the one given, or the one that was drawn."""

    strings: list[str]
    seed: int


class ScoreRequest(Strict):
    """Strings to score."""

    strings: list[Text] = Field(max_length=10_000)


class Scored(BaseModel):
    """log_probability in nats, end mark included; null where it is minus infinity. cut: longer than the block."""

    text: str
    log_probability: float | None
    tokens: int
    cut: bool


class ScoreAnswer(BaseModel):
    """In the order of the request."""

    scores: list[Scored]


class NextRequest(Strict):
    """How a string begins."""

    prefix: Text = ""


class NextAnswer(BaseModel):
    """tokens: the characters of the alphabet, and "" for the end; their probabilities in the same order."""

    tokens: list[str]
    probabilities: list[float]


class ExplainRequest(Strict):
    """A string to look into, at least one character long."""

    text: Text = Field(min_length=1)


class ExplainAnswer(BaseModel):
    """Position t has seen tokens[0..t] and predicts tokens[t + 1]; losses in nats, null where infinite."""

    text: str
    tokens: list[str]
    alphabet: list[str]
    probabilities: list[list[float]]
    losses: list[float | None]
    loss: float | None
    attention: list[list[list[list[float]]]]


class TrainRequest(Strict):
    """Documents and the settings of `microgpt train`; answered by a stream of events: step, done or error.

    A preset sets what the request does not.
    """

    documents: list[Text] = Field(min_length=1, max_length=100_000)
    preset: Literal["reference", "good", "best"] = "reference"
    n_layer: int = Field(_default.n_layer, ge=1, le=8)
    n_embd: int = Field(_default.n_embd, ge=1, le=256)
    n_head: int = Field(_default.n_head, ge=1, le=64)
    block_size: int = Field(_default.block_size, ge=1, le=512)
    num_steps: int = Field(_default.num_steps, ge=1, le=100_000)
    batch_size: int = Field(_default.batch_size, ge=1, le=256)
    learning_rate: float = Field(_default.learning_rate, gt=0, le=1e12)
    beta1: float = Field(_default.beta1, ge=0, lt=1)
    beta2: float = Field(_default.beta2, ge=0, lt=1)
    eps_adam: float = Field(_default.eps_adam, gt=0, le=1)
    warmup: int = Field(_default.warmup, ge=0, le=100_000)
    weight_decay: float = Field(_default.weight_decay, ge=0, le=1e12)
    input_dropout: float = Field(_default.input_dropout, ge=0, lt=1)
    muon: float = Field(_default.muon, ge=0, lt=1)
    init_std: float = Field(_default.init_std, gt=0, le=100)
    windows: bool = _default.windows
    seed: int = Field(_default.seed, ge=0, le=2**64 - 1)


class Problem(BaseModel):
    """What is wrong, where, and how to mend it."""

    what: str
    where: str
    fix: str


class ErrorAnswer(BaseModel):
    """The body of every refusal."""

    error: Problem


class Health(BaseModel):
    """model: whether one is loaded."""

    status: str
    model: bool
