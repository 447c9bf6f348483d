"""The plugin contract: what a plugin may provide, and what each thing must do.

A plugin registers *parts*: frozen dataclasses of options, in a module that imports nothing heavy.
A part's ``make`` imports what it needs and returns the thing itself, so that listing, validating
and planning never import torch. The hooks that return parts are in ``hooks``, what an executor is
in ``engine``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import pluggy

from lmgrid.seeds import derive_seed as derive_seed
from lmgrid.vocabulary import LogProbs as LogProbs
from lmgrid.vocabulary import Text, Vocabulary
from lmgrid.vocabulary import Tokens as Tokens

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from lmgrid.budget import Budget

GROUP = "lmgrid"
FIRST_STEPS = (1, 10, 100)  # optimizer steps whose losses a record keeps
hookimpl = pluggy.HookimplMarker(GROUP)


# ---------------------------------------------------------------- what is handed to a part


@dataclass(frozen=True)
class Place:
    """Where files are: ``folder`` is what relative paths of a grid count from."""

    folder: Path
    cache: Path


@dataclass(frozen=True)
class Context:
    """What a model, optimizer or regularizer may know when it is made."""

    vocabulary: Vocabulary
    counts: NDArray[np.int64]  # shape (V,), how often each id occurs in train
    seed: int
    device: str
    cache: Path


# ---------------------------------------------------------------- what parts make


@dataclass(frozen=True)
class Progress:
    """Where training stands at one yield of ``fit``."""

    tokens: int  # training tokens predicted so far, over all epochs; less after a rollback
    train_nats: float | None  # mean data loss per token since the last yield; None: not known
    _: KW_ONLY
    penalty: float = 0.0  # mean of what regularizers added to the loss, per step
    compile_seconds: float = 0.0  # spent compiling since the last yield, inside the clock
    events: tuple[tuple[str, int], ...] = ()  # (name, how often) since the last yield
    # (step, mean data loss per token of that step) of those of FIRST_STEPS that were taken since
    # the last yield. Steps count from 1 and on through a rollback, so each is reported once.
    losses: tuple[tuple[int, float], ...] = ()


class Diverged(Exception):
    """A loss, gradient or score is not finite, and no way back is left."""


@dataclass(frozen=True)
class State:
    """What an object needs to continue a training as if it had not been interrupted.

    For a model: weights, optimizer, random generators, hidden state and the position in the text.
    """

    arrays: Mapping[str, NDArray[np.generic]]
    values: Mapping[str, Any]  # as in JSON: numbers, texts, None, and lists and mappings of these


@runtime_checkable
class Stateful(Protocol):
    """A regularizer or reporter whose behaviour depends on earlier steps.

    The training loop of ``lmgrid_torch`` saves its state in checkpoints, and restores it when a
    training is resumed. After a rollback to an earlier point it restores the state that
    regularizers had at that point. A rollback does not change the state of reporters: they report
    all steps taken, and those undone by the rollback were taken once.

    Example: an L2 penalty whose weight decays with the number of steps.

    >>> class DecayingL2:
    ...     def __init__(self):
    ...         self.steps = 0
    ...     def layers(self, module):
    ...         pass
    ...     def loss(self, module):
    ...         squares = sum(parameter.square().sum() for parameter in module.parameters())
    ...         return 0.1 / (1 + self.steps) * squares
    ...     def update(self, module, rate):
    ...         self.steps += 1
    ...         return 0
    ...     def state(self):
    ...         return State(arrays={}, values={"steps": self.steps})
    ...     def load_state(self, state):
    ...         self.steps = state.values["steps"]
    >>> isinstance(DecayingL2(), Stateful)
    True
    """

    def state(self) -> State:
        """Return copies of what later behaviour depends on. Called at a yield of ``fit``."""
        ...

    def load_state(self, state: State) -> None:
        """Restore what ``state`` returned, perhaps in another process.

        A regularizer's ``layers`` is called before. The arrays are copies that may be kept.
        """
        ...


@dataclass(frozen=True)
class Recipe:
    """How to learn, apart from what. A counting model needs none of it."""

    optimizer: Optimizer | None
    regularizers: tuple[Regularizer, ...]
    _: KW_ONLY
    seed: int
    budget: Budget | None
    point_interval: int  # yield at the first step at or past each multiple of so many tokens
    reporters: tuple[Reporter, ...] = ()
    resume: State | None = None  # go on from here; a model that is not Resumable gets None


class LanguageModel(Protocol):
    """Learns from tokens, then scores tokens."""

    def fit(self, train: Tokens, recipe: Recipe) -> Generator[Progress, float | None, None]:
        """Learn, and yield wherever the model may be scored.

        A counting model yields once (see ``CountingModel``); a network goes on without end, every
        ``recipe.point_interval`` tokens and at the end of each epoch, until the runner closes
        it. What is sent back is the validation loss (nats per token), or None where the runner
        did not score.
        """
        ...

    def score(self, tokens: Tokens) -> LogProbs:
        """Return ln p(tokens[i] | <eos>, tokens[:i]) for each i, shape (n,); -inf for zero."""
        ...


class CountingModel(ABC):
    """A language model that learns from one pass over the training text, such as an n-gram model.

    A subclass defines ``learn`` and ``score``; ``fit`` is given.

    >>> import numpy as np
    >>> class Unigram(CountingModel):
    ...     def learn(self, train):
    ...         self.log_probs = np.log(np.bincount(train) / len(train))
    ...     def score(self, tokens):
    ...         return self.log_probs[tokens]
    """

    @abstractmethod
    def learn(self, train: Tokens) -> None:
        """Estimate the model from the ids of the training text, shape (n,)."""

    @abstractmethod
    def score(self, tokens: Tokens) -> LogProbs:
        """Return ln p(tokens[i] | <eos>, tokens[:i]) for each i, shape (n,); -inf for zero."""

    def fit(self, train: Tokens, recipe: Recipe) -> Generator[Progress, float | None, None]:
        """Learn, then yield once. The loss on the training text is not computed."""
        self.learn(train)
        yield Progress(tokens=len(train), train_nats=None)


@runtime_checkable
class Predicts(Protocol):
    """A model that can say what comes next, for sampling and prediction."""

    def next_log_probs(self, context: Tokens) -> LogProbs:
        """Return ln p(v | <eos>, context) for each v of the vocabulary, shape (V,)."""
        ...


@runtime_checkable
class Stored(Protocol):
    """A model that can be kept on disk, for scoring. Nothing may be pickled."""

    def save(self, folder: Path) -> None:
        """Write what ``score`` needs into an existing, empty folder."""
        ...

    def load(self, folder: Path) -> None:
        """Become the model that was saved there."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """A model whose training can be stopped at any yield and go on in another process.

    Given ``recipe.resume``, ``fit`` first yields where it stands, with no tokens more, and is
    answered as it was at that yield before; from there on it does what it would have done.
    """

    def state(self) -> State:
        """Return copies that training does not change. Called at a yield of ``fit``."""
        ...


@runtime_checkable
class Sized(Protocol):
    """A model that knows how large it is."""

    def sizes(self) -> Sizes: ...


@dataclass(frozen=True)
class Sizes:
    """How large a fitted model is."""

    parameters: int  # numbers that were learned or counted
    bytes: int  # in memory, for scoring


@dataclass(frozen=True)
class Moment:
    """How far training has come before a step: all that a schedule may depend on."""

    tokens: int  # training tokens predicted so far
    epochs: float  # passes over train so far
    share: float | None  # of a budget of epochs or tokens; None: there is none
    valid: tuple[float, ...] = ()  # the finite validation losses so far, in order


class Optimizer(Protocol):
    """Makes a torch optimizer, and says how its settings change from step to step.

    A torch optimizer that scores with other weights than it trains has ``eval()``, which puts
    these in place, and ``train()``, which puts the trained ones back.
    """

    def __call__(self, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer: ...

    def settings(self, moment: Moment) -> Mapping[str, float]:
        """Return what to set in every parameter group for the next step, ``lr`` among it."""
        ...


class Regularizer(Protocol):
    """Holds a network back, by up to three doors, each of which may do nothing."""

    def layers(self, module: torch.nn.Module) -> None:
        """Act where the model marked a named Site. Called once, before training."""
        ...

    def loss(self, module: torch.nn.Module) -> torch.Tensor | float:
        """Return what to add to the data loss of this step."""
        ...

    def update(self, module: torch.nn.Module, rate: float) -> int:
        """Change gradients or weights, between backward and step; return how often it acted.

        ``rate`` is the learning rate of this step.
        """
        ...


@dataclass(frozen=True)
class Reading:
    """One figure that a reporter read: of what, at which place (a lag, a layer), how much."""

    name: str
    value: float | None  # None: not finite
    at: float | None = None


class Reporter(Protocol):
    """Looks at training and says what it saw; it must change nothing."""

    def gradients(self, module: torch.nn.Module, *, updated: bool) -> None:
        """Look at the gradients of a step: before regularizers update them, and after."""
        ...

    def readings(self, model: LanguageModel, tokens: Tokens) -> Iterator[Reading]:
        """Yield what was seen since the last point. Outside the clock; ``tokens``: validation."""
        ...


@dataclass(frozen=True)
class Kernel:
    """Two ways to compute one thing: a loop as one would first write it, and whole arrays.

    ``sample(seed)`` makes the arguments, afresh for each twin, so that mutation shows.
    ``tolerance`` is the largest absolute difference allowed; 0 asks for equality.
    """

    loop: Callable[..., Any]  # -> a number, an array or tensor, or a tuple or list of these
    vector: Callable[..., Any]
    sample: Callable[[int], tuple[Any, ...]]
    tolerance: float = 0.0


class Device(Protocol):
    """A kind of device, found by the name a grid gives it."""

    def available(self) -> tuple[str, ...]:
        """Return the names that can be used on this machine, best first."""
        ...

    def synchronize(self, device: str) -> None:
        """Return once all that was asked of the device is done."""
        ...

    def reset_peak_bytes(self, device: str) -> None:
        """Begin to watch memory anew."""
        ...

    def peak_bytes(self, device: str) -> int:
        """Return the largest memory held since then."""
        ...

    def set_threads(self, threads: int) -> None:
        """Let computations use so many threads of the host."""
        ...

    def describe(self, device: str) -> str:
        """Return the name its maker gave it."""
        ...


# ---------------------------------------------------------------- parts


class AnyPart:
    """What every part may say of the modules behind it, without importing them."""

    requires: ClassVar[str] = ""  # an importable module, in the extra of the same name
    # Modules that ``make`` imports and that are slow to import: the server that the processes of
    # all cells are forked from imports them once.
    preload: ClassVar[tuple[str, ...]] = ()
    modules: ClassVar[tuple[str, ...]] = ()  # that it imports by a computed name
    # Libraries whose version decides the numbers, so that it enters the address.
    versions_matter: ClassVar[tuple[str, ...]] = ()


class CorpusPart(AnyPart, ABC):
    """Options of a corpus. The docstring of a subclass names its licence and size.

    ``digests_files``: ``digest`` reads every file that an option names. Where it does not, the
    bytes of those files count beside it.
    """

    digests_files: ClassVar[bool] = False

    @abstractmethod
    def digest(self, place: Place) -> str:
        """Return a hash of the raw bytes, without tokenising them."""

    @abstractmethod
    def make(self, place: Place) -> Text: ...


class ModelPart(AnyPart, ABC):
    """Options of a language model."""

    by_gradient: ClassVar[bool] = False  # takes an optimizer and regularizers
    deterministic: ClassVar[bool] = False  # the seed changes nothing

    @property
    def devices(self) -> tuple[str, ...]:
        """Name patterns of the devices that it can run on, as its options are."""
        return ("cpu",)

    @property
    def sites(self) -> tuple[str, ...]:
        """Where regularizers may act, as its options are."""
        return ()

    @property
    def inactive_options(self) -> tuple[str, ...]:
        """Options that change nothing while the others are as they are: a cell has their defaults.

        So an axis of one of them makes no cells that compute the same.
        """
        return ()

    @property
    def budgeted(self) -> bool:
        """Whether it trains on until a budget ends it, be it by an optimizer of its own."""
        return self.by_gradient

    @property
    def normalised(self) -> bool:
        """Whether its scores are probabilities; if not, it has no perplexity."""
        return True

    @property
    def sums_to_one(self) -> bool:
        """Whether it predicts something after every context; if not, some sums may be 0."""
        return self.normalised

    @abstractmethod
    def make(self, context: Context) -> LanguageModel: ...


class OptimizerPart(AnyPart, ABC):
    """Options of an optimizer."""

    @property
    def needs_length(self) -> bool:
        """Whether a schedule must know how long training is: a budget of seconds will not do."""
        return False

    @abstractmethod
    def make(self, context: Context) -> Optimizer: ...


class RegularizerPart(AnyPart, ABC):
    """Options of a regularizer. ``sites``: it needs at least one of them; none means no need."""

    sites: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def make(self, context: Context) -> Regularizer: ...


class ReporterPart(AnyPart, ABC):
    """Options of a reporter. ``sites``: it needs all of them."""

    sites: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def make(self, context: Context) -> Reporter: ...


class KernelPart(AnyPart, ABC):
    """Options of a kernel; sizes are options, so that a list of them is an axis of a grid."""

    devices: ClassVar[tuple[str, ...]] = ("cpu",)  # name patterns it can run on

    @abstractmethod
    def make(self, device: str) -> Kernel: ...


class DevicePart(AnyPart, ABC):
    """A device provider; the name it is registered under is a pattern such as ``cuda*``."""

    @abstractmethod
    def make(self) -> Device: ...

    def confine(self, device: str) -> str:
        """Let this process see no other device of the kind; return what this one is called then.

        Called in a process that has one cell to run, before anything asks for a device.
        """
        return device

    def instruction_sets(self) -> Mapping[str, str]:
        """Return the instruction set that each library uses on the processor, where it is known.

        Only of libraries that this process has imported already; it imports none.
        """
        return {}
