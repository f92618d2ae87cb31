"""`MicroGPT`, the class that users work with: train it, sample from it, score with it, save it.

It follows the conventions of scikit-learn without importing it. The constructor only stores its
arguments, `fit` returns self, and the attributes that `fit` sets end with an underscore.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from . import checkpoint as checkpoints
from . import corpus, explaining, sampling, scoring
from .config import Config, HyperParameters, checked
from .engines import Engine
from .errors import ConfigError, NotFittedError, quote
from .gpt import GPT
from .randomness import Draws, fresh_seed
from .tokenizer import Tokenizer
from .training import Interrupt, Session, Step, settle_block_size

if TYPE_CHECKING:
    from .pytorch import TorchGPT

Documents = Iterable[str] | os.PathLike[str]
_RESTORED = ("_gpt", "_session", "_checkpoint")  # not pickled, but made again from a checkpoint


class MicroGPT(HyperParameters[int | Literal["auto"]]):
    """A tiny GPT for lists of short strings.

    The keyword arguments are the fields of `Config`, with the same defaults, and two more:

    engine: "auto", "exact", "scalar", "fast", or one that another package installs. "auto" is the
    exact engine; the fast one if the configuration needs it; the scalar one if neither was built.
    "fast" computes in float32, so its results are those of the others up to rounding.
    threads: the maximum number of threads; 0: the engine chooses.

    `block_size="auto"` fits the longest document. `MicroGPT(**recipe("good", documents))` is a
    better model than the default.

    After `fit` or `load`: `config_`, `tokenizer_`, `engine_`, `n_steps_` (updates made), `losses_`
    (one per step of this object's own training) and `classes_` (the columns of `predict_proba`).

    >>> model = MicroGPT(n_embd=8, block_size="auto", num_steps=50)
    >>> model = model.fit(["anna", "hanna", "ana", "nana", "hannah"])
    >>> model.sample(3, seed=1)
    ['anna', 'anna', 'hana']
    >>> model.n_steps_, len(model.losses_), model.classes_
    (50, 50, ['a', 'h', 'n', ''])
    """

    engine: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        self.losses_: list[float] = []
        self._gpt: GPT | None = None
        self._session: Session | None = None
        self._checkpoint: checkpoints.Checkpoint | None = None
        self._known: frozenset[str] | None = None

    # ---- parameters, in the form that scikit-learn expects ----

    @classmethod
    def _names(cls) -> list[str]:
        return list(cls.defaults)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments, unchanged.

        >>> MicroGPT(seed=3).get_params()["seed"]
        3
        """
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> MicroGPT:
        """Change arguments, for the next `fit`. An unknown name is a ConfigError."""
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
        return self._gpt is not None

    def __repr__(self) -> str:
        changed = [f"{k}={v!r}" for k, v in self.get_params().items() if v != self.defaults[k]]
        return f"MicroGPT({', '.join(changed)})"

    # ---- training ----

    def fit(self, X: Documents, y: object = None) -> MicroGPT:
        """Train on documents: an iterable of strings, a pandas Series, or a `pathlib.Path`.

        y is ignored. Ctrl-C stops between two steps and raises KeyboardInterrupt; the model keeps
        the steps made until then.
        Raises TypeError for a single string, DataError if there are no documents, ConfigError, and
        DivergedError if the loss is not finite.
        """
        with Interrupt() as interrupt:
            session = self._start(X)
            for block in session.run(interrupt.stop):
                self.losses_ += [step.loss for step in block]
        if interrupt.received is not None:
            raise KeyboardInterrupt
        return self

    def fit_iter(self, X: Documents) -> Iterator[Step]:
        """Train as `fit` does, and yield each Step after its update. The model can be used between.

        >>> model = MicroGPT(n_embd=8, num_steps=2)
        >>> [step.step for step in model.fit_iter(["anna", "hanna"])]
        [1, 2]
        """
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
        self._session, self._checkpoint, self._known = session, None, None
        self._gpt, self.losses_ = session.gpt, []
        return session

    @property
    def gpt_(self) -> GPT:
        """Configuration, tokenizer and engine. Raises NotFittedError before `fit` or `load`."""
        if self._gpt is None:
            raise NotFittedError("the model is not trained yet", fix="call fit, or MicroGPT.load")
        return self._gpt

    @property
    def config_(self) -> Config:
        """The configuration it was trained with."""
        return self.gpt_.config

    @property
    def tokenizer_(self) -> Tokenizer:
        """The alphabet of its training documents."""
        return self.gpt_.tokenizer

    @property
    def engine_(self) -> Engine:
        """The engine that holds its weights."""
        return self.gpt_.engine

    # ---- files ----

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a model file: a safetensors file with all that is needed to continue training."""
        checkpoints.save(path, self._to_checkpoint())

    @classmethod
    def load(cls, path: str | os.PathLike[str], engine: str = "auto") -> MicroGPT:
        """Read a model file.

        Raises InputError if there is no such file, CheckpointError if it is damaged.
        """
        return cls.from_checkpoint(checkpoints.load(path), engine)

    @classmethod
    def from_checkpoint(cls, checkpoint: checkpoints.Checkpoint, engine: str = "auto") -> MicroGPT:
        """The model in a checkpoint that was read already."""
        self = cls(**checkpoint.config.to_dict(), engine=engine)  # type: ignore[arg-type]
        self._restore(checkpoint, engine)
        return self

    def _restore(self, checkpoint: checkpoints.Checkpoint, engine: str) -> None:
        threads = int(checked("threads", self.threads))
        self._gpt = GPT.from_checkpoint(checkpoint, engine, threads=threads)
        self._checkpoint = checkpoint

    def _to_checkpoint(self) -> checkpoints.Checkpoint:
        if self._session is not None:
            return self._session.checkpoint()
        if self._checkpoint is not None:
            return self._checkpoint
        raise NotFittedError("the model is not trained yet", fix="call fit, or MicroGPT.load")

    def __getstate__(self) -> dict[str, Any]:
        """For pickle, copy and joblib: a trained model as the bytes of its model file.

        The training set is included if it is in memory. Raises DivergedError as `save`
        does.
        """
        state = {name: value for name, value in vars(self).items() if name not in _RESTORED}
        if self._gpt is not None:
            if self._session is not None:
                state["_known"] = self.known()
            state["_trained"] = checkpoints.to_bytes(self._to_checkpoint()), self._gpt.engine.name
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _gpt=None, _session=None, _checkpoint=None)
        if "val" in state:  # a pickle from before the field was renamed
            self.held_out = vars(self).pop("val")
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
        """Generate up to n strings; fewer if the model hardly ever generates such strings.

        novel: True leaves out the training set; a collection leaves out its strings.
        seed: the same seed gives the same strings here, on the command line and over HTTP.
        The other arguments are described in `sampling.Wanted`.
        Raises ConfigError, and DataError for a prefix with a character outside the alphabet.
        """
        gpt = self.gpt_
        known = (self.known() if novel else ()) if isinstance(novel, bool) else frozenset(novel)
        wanted = sampling.Wanted(
            temperature, top_k, top_p, prefix, match, min_len, max_len, known, unique
        )
        draws = Draws(fresh_seed() if seed is None else int(checked("seed", seed)))
        with Interrupt() as interrupt:
            strings = list(sampling.sample(gpt, n, wanted, draws, interrupt.stop))
        if interrupt.received is not None:
            raise KeyboardInterrupt
        return strings

    def known(self) -> frozenset[str]:
        """The documents the model was trained on. After `load` they are read from their source.

        Raises InputError if the source is gone. Raises DataError if it has changed, or if the
        documents did not come from a file.
        """
        if self._known is None:
            if self._session is not None:
                self._known = frozenset(self._session.documents)
            else:
                data = self._to_checkpoint().data
                self._known = frozenset(corpus.read_again(data.origin, data.fingerprint).documents)
        return self._known

    # ---- scoring ----

    def score_samples(self, X: Iterable[str]) -> list[float]:
        """The log-probability of each string in nats, end token included.

        Raises DataError for a character outside the alphabet.
        """
        return [
            score.log_probability for score in scoring.score(self.gpt_, _texts(X), lambda: False)
        ]

    def score(self, X: Iterable[str], y: object = None) -> float:
        """Mean log-probability in nats per token: minus the loss, so higher is better."""
        return -self.evaluate(X).loss

    def perplexity(self, X: Iterable[str]) -> float:
        """e to the power of the mean loss per token."""
        return self.evaluate(X).perplexity

    def evaluate(self, X: Iterable[str]) -> scoring.Evaluation:
        """The loss over all tokens of the strings."""
        return scoring.evaluate(self.gpt_, _texts(X), lambda: False)

    @property
    def classes_(self) -> list[str]:
        """The possible next tokens: the characters of the alphabet, then "" for the end token."""
        return [*self.tokenizer_.alphabet, ""]

    def predict_proba(self, X: str | Iterable[str]) -> list[float] | list[list[float]]:
        """The probability of each of `classes_` after a prefix; one row per prefix for several."""
        if isinstance(X, str):
            return self._next(X)
        return [self._next(prefix) for prefix in _texts(X)]

    def _next(self, prefix: str) -> list[float]:
        return explaining.next_probabilities(self.gpt_, prefix, lambda: False)

    def explain(self, text: str, *, gradients: bool = False) -> explaining.Explanation:
        """What the model predicts at each position of a string, and where its heads attend."""
        return explaining.explain(self.gpt_, text, gradients, lambda: False)

    def to_torch(self) -> TorchGPT:
        """The model as a `torch.nn.Module` in float64. Needs PyTorch."""
        from .pytorch import TorchGPT

        gpt = self.gpt_
        return TorchGPT.from_state(gpt.config, gpt.tokenizer, gpt.engine.state())

    @property
    def n_steps_(self) -> int:
        """Number of updates made so far."""
        return self.engine_.state().step


def _texts(X: Iterable[str]) -> Iterator[str]:
    """Strings in the form of documents, without surrounding white space. A str is a TypeError."""
    if isinstance(X, (str, bytes)):
        raise TypeError("expected an iterable of strings, not a single string")
    for i, text in enumerate(X):
        if not isinstance(text, str):
            raise TypeError(f"string {i} is {type(text).__name__}, not str")
        yield corpus.one_line(text)
