"""`MicroGPT`: the object users hold. Train it, sample from it, score with it, save it.

It follows scikit-learn's conventions without importing it: the constructor only stores, `fit` returns
self, what training found ends with an underscore.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from . import checkpoint as checkpoints
from . import corpus, engines, explaining, sampling, scoring
from .config import Config, checked
from .errors import ConfigError, NotFittedError, quote
from .randomness import Draws, fresh_seed
from .tokenizer import Tokenizer
from .training import Interrupt, Session, Step, settle_block_size

if TYPE_CHECKING:
    from .pytorch import TorchGPT

Documents = Iterable[str] | os.PathLike[str]
_LIVE = (
    "config_",
    "tokenizer_",
    "engine_",
    "_session",
    "_checkpoint",
)  # made again from a checkpoint's bytes


class MicroGPT:
    """A tiny GPT for lists of short strings.

    The keyword arguments are the fields of `Config`, with their defaults; `block_size="auto"` takes
    the longest document. `engine`: "auto" (the exact engine; the fast one for a recipe's updates; the scalar one
    where neither was built), "exact", "scalar", or "fast" (float32: the same algorithm within its rounding).
    `threads`: at most so many, 0 for the engine's choice. For a better model than the reference's:
    `MicroGPT(**recipe("good", documents))`.

    After fit or load: `config_`, `tokenizer_`, `engine_`, `n_steps_` (updates made), `losses_` (of
    this object's own training, one a step), `classes_` (labels of the columns of `predict_proba`).
    """

    config_: Config
    tokenizer_: Tokenizer
    engine_: engines.Engine

    def __init__(
        self,
        *,
        n_layer: int = 1,
        n_embd: int = 16,
        n_head: int = 4,
        block_size: int | Literal["auto"] = 16,
        num_steps: int = 1000,
        batch_size: int = 1,
        learning_rate: float = 0.01,
        beta1: float = 0.85,
        beta2: float = 0.99,
        eps_adam: float = 1e-8,
        weight_decay: float = 0.0,
        input_dropout: float = 0.0,
        muon: float = 0.0,
        warmup: int = 0,
        init_std: float = 0.08,
        seed: int = 42,
        windows: bool = False,
        val: float = 0.0,
        engine: str = "auto",
        threads: int = 0,
    ) -> None:
        self.n_layer = n_layer
        self.n_embd = n_embd
        self.n_head = n_head
        self.block_size = block_size
        self.num_steps = num_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps_adam = eps_adam
        self.weight_decay = weight_decay
        self.input_dropout = input_dropout
        self.muon = muon
        self.warmup = warmup
        self.init_std = init_std
        self.seed = seed
        self.windows = windows
        self.val = val
        self.engine = engine
        self.threads = threads
        self.losses_: list[float] = []
        self._session: Session | None = None
        self._checkpoint: checkpoints.Checkpoint | None = None
        self._known: frozenset[str] | None = None

    # ---- parameters, as scikit-learn wants them ----

    @classmethod
    def _names(cls) -> list[str]:
        return list(inspect.signature(cls).parameters)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments as they were given."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> MicroGPT:
        """Change arguments; takes effect at the next fit. An unknown name is a ConfigError."""
        for name, value in params.items():
            if name not in self._names():
                raise ConfigError(
                    f"there is no parameter {quote(name)}", fix=f"one of {', '.join(self._names())}"
                )
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags

        inputs = InputTags(one_d_array=True, two_d_array=False, string=True)
        return Tags(
            estimator_type="density_estimator",
            target_tags=TargetTags(required=False),
            input_tags=inputs,
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "engine_")

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        changed = [f"{k}={v!r}" for k, v in self.get_params().items() if v != defaults[k].default]
        return f"MicroGPT({', '.join(changed)})"

    # ---- training ----

    def fit(self, X: Documents, y: object = None) -> MicroGPT:
        """Train on documents (iterable of str, pandas Series, pathlib.Path); y is ignored.

        Ctrl-C stops between two steps and raises KeyboardInterrupt; the model stands as it is then.
        Raises TypeError for a str, DataError for no documents, ConfigError, DivergedError.
        """
        with Interrupt() as interrupt:
            session = self._start(X)
            for block in session.run(interrupt.stop):
                self.losses_ += [step.loss for step in block]
        if interrupt.received is not None:
            raise KeyboardInterrupt
        return self

    def fit_iter(self, X: Documents) -> Iterator[Step]:
        """Train step by step: yields each Step when its update is made; the model can be used in between."""
        for block in self._start(X).run(lambda: False, every=1):
            self.losses_ += [step.loss for step in block]
            yield from block

    def _start(self, X: Documents) -> Session:
        source = corpus.from_iterable(X)
        values = {
            name: value
            for name, value in self.get_params().items()
            if name not in ("engine", "threads")
        }
        values["block_size"] = settle_block_size(values["block_size"], source.documents)
        threads = int(checked("threads", self.threads))
        session = Session.start(Config(**values), source, self.engine, threads)
        self._adopt(session)
        return session

    def _adopt(self, session: Session) -> None:
        self._session, self._checkpoint, self._known = session, None, None
        self.losses_ = []
        self.config_, self.tokenizer_, self.engine_ = (
            session.config,
            session.tokenizer,
            session.engine,
        )

    @classmethod
    def from_session(cls, session: Session) -> MicroGPT:
        """The model of a training session, which may go on training."""
        self = cls(**session.config.to_dict(), engine=session.engine.name)  # type: ignore[arg-type]
        self._adopt(session)
        return self

    # ---- files ----

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model, with all that is needed to go on training it, as one safetensors file."""
        checkpoints.save(path, self._to_checkpoint())

    @classmethod
    def load(cls, path: str | os.PathLike[str], engine: str = "auto") -> MicroGPT:
        """Read a model. Raises InputError for no such file, CheckpointError for a damaged one."""
        found = checkpoints.load(path)
        self = cls(**found.config.to_dict(), engine=engine)  # type: ignore[arg-type]
        self._restore(found, engine)
        return self

    def _restore(self, found: checkpoints.Checkpoint, engine: str) -> None:
        self.config_, self.tokenizer_, self._checkpoint = found.config, found.tokenizer, found
        kind, threads = engines.engine_class(engine), int(checked("threads", self.threads))
        self.engine_ = kind(found.config, found.tokenizer.vocab_size, found.state, threads=threads)

    def _to_checkpoint(self) -> checkpoints.Checkpoint:
        self._require_fitted()
        if self._session is not None:
            return self._session.checkpoint()
        assert self._checkpoint is not None
        return self._checkpoint

    def __getstate__(self) -> dict[str, Any]:
        """For pickle, copy and joblib: a trained model as `save` writes it, and the training list where it is at hand.

        Raises DivergedError as `save` does.
        """
        state = {name: value for name, value in vars(self).items() if name not in _LIVE}
        if hasattr(self, "engine_"):
            if self._session is not None:
                state["_known"] = self.known()
            state["_trained"] = checkpoints.to_bytes(self._to_checkpoint()), self.engine_.name
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _session=None, _checkpoint=None)
        if "_trained" in state:
            data, engine = vars(self).pop("_trained")
            self._restore(checkpoints.from_bytes(data), engine)

    # ---- sampling ----

    def sample(
        self,
        n: int = 20,
        *,
        temperature: float = 0.5,
        top_k: int = 0,
        top_p: float = 1.0,
        prefix: str = "",
        match: str | None = None,
        min_len: int = 0,
        max_len: int | None = None,
        novel: bool | Collection[str] = False,
        unique: bool = False,
        seed: int | None = None,
    ) -> list[str]:
        """Up to n new strings; fewer when the model hardly ever makes such strings.

        novel: True leaves out the documents of the training list, a collection leaves out its own.
        seed: the same seed gives the same strings here, on the command line and over HTTP.
        The rest: see `sampling.Wanted`. Raises ConfigError, and DataError for a prefix outside the alphabet.
        """
        self._require_fitted()
        known = (self.known() if novel else ()) if isinstance(novel, bool) else frozenset(novel)
        wanted = sampling.Wanted(
            temperature, top_k, top_p, prefix, match, min_len, max_len, known, unique
        )
        draws = Draws(fresh_seed() if seed is None else int(checked("seed", seed)))
        with Interrupt() as interrupt:
            found = sampling.sample(
                self.engine_, self.tokenizer_, self.config_, n, wanted, draws, interrupt.stop
            )
            strings = list(found)
        if interrupt.received is not None:
            raise KeyboardInterrupt
        return strings

    def known(self) -> frozenset[str]:
        """The documents the model was trained on; after `load`, read again from where they were.

        Raises InputError when they are gone, DataError when they changed or were not kept in a file.
        """
        self._require_fitted()
        if self._known is None:
            if self._session is not None:
                self._known = frozenset(self._session.documents)
            else:
                data = self._to_checkpoint().data
                self._known = frozenset(corpus.again(data.origin, data.fingerprint).documents)
        return self._known

    # ---- scoring ----

    def score_samples(self, X: Iterable[str]) -> list[float]:
        """log p of each string in nats, its end mark included. DataError: a character outside the alphabet."""
        return [found.log_probability for found in self._scores(X)]

    def score(self, X: Iterable[str], y: object = None) -> float:
        """Mean log-probability a token in nats, higher is better: minus the held-out loss."""
        return -self.evaluate(X).loss

    def perplexity(self, X: Iterable[str]) -> float:
        """e to the mean loss a token."""
        return self.evaluate(X).perplexity

    def evaluate(self, X: Iterable[str]) -> scoring.Evaluation:
        """Loss over all tokens of the strings."""
        self._require_fitted()
        return scoring.evaluate(
            self.engine_, self.tokenizer_, self.config_, _texts(X), lambda: False
        )

    def _scores(self, X: Iterable[str]) -> Iterator[scoring.Score]:
        self._require_fitted()
        return scoring.score(self.engine_, self.tokenizer_, self.config_, _texts(X), lambda: False)

    @property
    def classes_(self) -> list[str]:
        """The characters, and "" for the end mark: what can come next."""
        self._require_fitted()
        return [*self.tokenizer_.alphabet, ""]

    def predict_proba(self, X: str | Iterable[str]) -> list[float] | list[list[float]]:
        """Probabilities of what comes after a prefix, in the order of `classes_`; a row for each of several."""
        self._require_fitted()
        if isinstance(X, str):
            return self._next(X)
        return [self._next(prefix) for prefix in _texts(X)]

    def _next(self, prefix: str) -> list[float]:
        return explaining.next_probabilities(
            self.engine_, self.tokenizer_, self.config_, prefix, lambda: False
        )

    def explain(self, text: str, *, gradients: bool = False) -> explaining.Explanation:
        """What the model expects at each position of `text`, and where its heads look."""
        self._require_fitted()
        return explaining.explain(
            self.engine_, self.tokenizer_, self.config_, text, gradients, lambda: False
        )

    def to_torch(self) -> TorchGPT:
        """The model as a `torch.nn.Module` in float64 (needs PyTorch)."""
        from .pytorch import TorchGPT

        self._require_fitted()
        return TorchGPT.from_state(self.config_, self.tokenizer_, self.engine_.state())

    @property
    def n_steps_(self) -> int:
        """Updates made so far."""
        self._require_fitted()
        return self.engine_.state().step

    def _require_fitted(self) -> None:
        if not hasattr(self, "engine_"):
            raise NotFittedError("the model is not trained yet", fix="call fit, or MicroGPT.load")


def _texts(X: Iterable[str]) -> Iterator[str]:
    """Strings to score, as documents are: without surrounding white space. A str is a TypeError."""
    if isinstance(X, (str, bytes)):
        raise TypeError("expected an iterable of strings, not a single string")
    for i, text in enumerate(X):
        if not isinstance(text, str):
            raise TypeError(f"string {i} is {type(text).__name__}, not str")
        yield corpus.one_line(text)
