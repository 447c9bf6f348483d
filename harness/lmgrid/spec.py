"""Defines the plugin contract: the parts that plugins register, and protocols of what they make.

A *part* is a frozen dataclass of options, in a module that imports nothing heavy. Its ``make``
imports what it needs and returns the model, optimizer or other object. So listing parts, checking
options and planning a grid never import torch. The hooks that return parts are in ``hooks``; the
contract of executors is in ``engine``.
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


# ---------------------------------------------------------------- arguments of ``make``


@dataclass(frozen=True)
class Place:
    """The folders in which a corpus finds its files."""

    folder: Path  # of the grid file; relative paths in options start here
    cache: Path  # for files that can be downloaded or computed again


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the ``make`` of a model, optimizer, regularizer or reporter is given."""

    vocabulary: Vocabulary
    counts: NDArray[np.int64]  # (V,), how often each id occurs in the training text
    seed: int
    device: str  # such as "cpu" or "cuda:0"
    cache: Path  # a folder for files that can be computed again


# ---------------------------------------------------------------- what ``make`` returns


@dataclass(frozen=True)
class Progress:
    """What ``fit`` reports at a yield: how far training is, and its losses since the last yield.

    >>> Progress(tokens=35, train_nats=6.2, events=(("clip", 1),)).tokens
    35
    """

    tokens: int  # training tokens predicted so far, over all epochs; fewer after a rollback
    train_nats: float | None  # mean data loss per token, in nats; None if it is not known
    _: KW_ONLY
    penalty: float = 0.0  # mean per step of the penalties that regularizers added to the loss
    compile_seconds: float = 0.0  # spent compiling, which the training clock includes
    events: tuple[tuple[str, int], ...] = ()  # (name, how often it occurred)
    # (step, mean data loss per token in nats) of those of FIRST_STEPS that were taken. Steps are
    # numbered from 1, and the numbers go on after a rollback, so each step is reported once.
    losses: tuple[tuple[int, float], ...] = ()


class Diverged(Exception):
    """A loss, gradient or score is not finite, and training cannot roll back any further."""


@dataclass(frozen=True)
class State:
    """What an object needs to continue a training as if it had not been interrupted.

    For a model: its weights, the optimizer, random generators, hidden state and the position in
    the text. For a regularizer, reporter or module: what ``Stateful.state`` returns.

    >>> State(arrays={}, values={"steps": 3}).values["steps"]
    3
    """

    arrays: Mapping[str, NDArray[np.generic]]
    values: Mapping[str, Any]  # as in JSON: numbers, texts, None, and lists and mappings of these


@runtime_checkable
class Stateful(Protocol):
    """A regularizer or reporter whose behaviour depends on earlier steps.

    The training loop of ``lmgrid_torch`` saves its state in checkpoints, and restores it when a
    training is resumed. A rollback to an earlier point also restores the state that regularizers
    had at that point. It does not change the state of reporters, since they report the steps that
    it undoes too, each of them once.

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
    """The settings of a training, as ``LanguageModel.fit`` takes them beside the text."""

    optimizer: Optimizer | None  # None for a model that is not trained by gradient descent
    regularizers: tuple[Regularizer, ...]
    _: KW_ONLY
    seed: int
    budget: Budget | None  # for schedules; the runner ends the training
    point_interval: int  # yield at the first step at or past each multiple of this many tokens
    reporters: tuple[Reporter, ...] = ()
    resume: State | None = None  # the state to resume from; always None if not ``Resumable``


class LanguageModel(Protocol):
    """A model that is trained on a text of tokens and scores other texts."""

    def fit(self, train: Tokens, recipe: Recipe) -> Generator[Progress, float | None, None]:
        """Train on ``train``, shape (n,); yield wherever the model may be scored.

        A counting model yields once (see ``CountingModel``). A network yields every
        ``recipe.point_interval`` tokens and at the end of each epoch, without end: the runner
        closes the generator. The runner sends back the validation loss in nats per token, or None
        if it did not score validation. Raises Diverged if a loss or weight is not finite.
        """
        ...

    def score(self, tokens: Tokens) -> LogProbs:
        """Return ln p(tokens[i] | <eos>, tokens[:i]) for each i, shape (n,).

        The value is -inf where the probability is zero.
        """
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
    """A model that returns the distribution of the next token, for sampling and prediction."""

    def next_log_probs(self, context: Tokens) -> LogProbs:
        """Return ln p(v | <eos>, context) for each id v, shape (V,)."""
        ...


@runtime_checkable
class Stored(Protocol):
    """A model that can be saved to disk and loaded again for scoring. It must not use pickle."""

    def save(self, folder: Path) -> None:
        """Write everything that ``score`` needs into ``folder``, which exists and is empty."""
        ...

    def load(self, folder: Path) -> None:
        """Load what ``save`` wrote into ``folder``; ValueError if it does not fit this model."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """A model whose training can be interrupted at any yield and resumed in another process.

    If ``recipe.resume`` is given, ``fit`` first yields the number of tokens at which the state was
    taken, without training further, and is sent the same validation loss as at that yield. From
    there on the training gives the same numbers as one that was not interrupted.
    """

    def state(self) -> State:
        """Return the state of training, as copies. Called at a yield of ``fit``."""
        ...


@runtime_checkable
class Sized(Protocol):
    """A model that reports its size."""

    def sizes(self) -> Sizes:
        """Return the size of the fitted model."""
        ...


@dataclass(frozen=True)
class Sizes:
    """The size of a fitted model."""

    parameters: int  # how many numbers were learned or counted
    bytes: int  # of memory that scoring needs


@dataclass(frozen=True)
class Moment:
    """How far training is before a step: everything that a schedule may depend on."""

    tokens: int  # training tokens predicted so far
    epochs: float  # passes over the training text so far
    share: float | None  # used of a budget of epochs or tokens; None if there is no such budget
    valid: tuple[float, ...] = ()  # the finite validation losses so far, nats per token, in order


class Optimizer(Protocol):
    """Makes a torch optimizer, and schedules its settings.

    A torch optimizer whose weights for scoring differ from those it trains (averaged weights, for
    example) has two more methods: ``eval()`` puts the weights for scoring into the parameters, and
    ``train()`` puts the trained weights back.
    """

    def __call__(self, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Return an optimizer of these parameters."""
        ...

    def settings(self, moment: Moment) -> Mapping[str, float]:
        """Return the settings of every parameter group for the next step; ``lr`` is required."""
        ...


class Regularizer(Protocol):
    """Regularizes the training of a network. Each of the three methods may do nothing.

    A regularizer whose behaviour depends on earlier steps is also ``Stateful``.
    """

    def layers(self, module: torch.nn.Module) -> None:
        """Add actions to the network's sites, such as dropout. Called once, before training."""
        ...

    def loss(self, module: torch.nn.Module) -> torch.Tensor | float:
        """Return the penalty, (), that is added to the mean data loss per token of a batch."""
        ...

    def update(self, module: torch.nn.Module, rate: float) -> int:
        """Change gradients or weights, after the backward pass and before the optimizer's step.

        ``rate`` is the learning rate of the step. Returns a number to add to the event that is
        named after the regularizer, such as 1 if gradients were clipped; 0 counts nothing.
        """
        ...


@dataclass(frozen=True)
class Reading:
    """A value that a reporter measured, as it is recorded with a point of the learning curve."""

    name: str  # such as "gradient_norm.mean"
    value: float | None  # None if it is not finite
    at: float | None = None  # the abscissa of a series of values, such as a lag in steps


class Reporter(Protocol):
    """Measures quantities of a training, and must not change it.

    A reporter whose readings depend on earlier steps is also ``Stateful``.
    """

    def gradients(self, module: torch.nn.Module, *, updated: bool) -> None:
        """Measure the gradients of a step; ``updated`` says whether regularizers updated them.

        Called twice in each step: before and after the regularizers' ``update``.
        """
        ...

    def readings(self, model: LanguageModel, tokens: Tokens) -> Iterator[Reading]:
        """Yield the readings at a point, which may cover all steps since the last point.

        ``tokens``, shape (n,), is the validation text. The time is not part of training.
        """
        ...


@dataclass(frozen=True)
class Kernel:
    """A computation written as a loop and in vectorised form, to compare results and times.

    Both functions take the arguments that ``sample(seed)`` returns, and return a number, array or
    tensor, or a tuple or list of these. ``sample`` is called anew for each of them, so a function
    that changes its arguments is found.

    >>> kernel = Kernel(
    ...     loop=lambda n: sum(range(n)),
    ...     vector=lambda n: n * (n - 1) // 2,
    ...     sample=lambda seed: (100 + seed,),
    ... )
    >>> kernel.loop(*kernel.sample(1)) == kernel.vector(*kernel.sample(1))
    True
    """

    loop: Callable[..., Any]
    vector: Callable[..., Any]
    sample: Callable[[int], tuple[Any, ...]]
    tolerance: float = 0.0  # the largest absolute difference allowed; 0 requires equal results


class Device(Protocol):
    """A kind of device, such as CUDA devices; ``device`` is a name such as ``"cuda:0"``."""

    def available(self) -> tuple[str, ...]:
        """Return the names of the devices of this kind on this machine, best first."""
        ...

    def synchronize(self, device: str) -> None:
        """Wait until the device has finished all computations."""
        ...

    def reset_peak_bytes(self, device: str) -> None:
        """Set the peak of allocated memory to the memory allocated now."""
        ...

    def peak_bytes(self, device: str) -> int:
        """Return the peak of allocated memory since ``reset_peak_bytes``, in bytes."""
        ...

    def set_threads(self, threads: int) -> None:
        """Set the number of threads that computations use on the host."""
        ...

    def describe(self, device: str) -> str:
        """Return the manufacturer's name of the device."""
        ...


# ---------------------------------------------------------------- parts


class AnyPart:
    """The base class of all parts, with what is known of their modules before they are imported."""

    requires: ClassVar[str] = ""  # a module that ``make`` needs, in the extra of the same name
    # Modules that ``make`` imports and that are slow to import. The fork server imports them once,
    # for the processes of all cells.
    preload: ClassVar[tuple[str, ...]] = ()
    modules: ClassVar[tuple[str, ...]] = ()  # modules that are imported by a computed name
    # Libraries whose version decides the numbers, so the address of a cell includes the version.
    versions_matter: ClassVar[tuple[str, ...]] = ()


class CorpusPart(AnyPart, ABC):
    """Options of a corpus. The docstring of a subclass names the licence and size of the corpus."""

    # Whether ``digest`` covers every file that an option names. If not, the address of a cell
    # includes the bytes of those files too.
    digests_files: ClassVar[bool] = False

    @abstractmethod
    def digest(self, place: Place) -> str:
        """Return a hash of the bytes of the corpus, without tokenizing it."""

    @abstractmethod
    def make(self, place: Place) -> Text:
        """Read the corpus and return its text; UserError if a file is missing or malformed."""


class ModelPart(AnyPart, ABC):
    """Options of a language model."""

    by_gradient: ClassVar[bool] = False  # whether it takes an optimizer and regularizers
    deterministic: ClassVar[bool] = False  # whether the seed has no effect on its scores

    @property
    def devices(self) -> tuple[str, ...]:
        """Name patterns of the devices that the model can run on with these options."""
        return ("cpu",)

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites that the model offers to regularizers with these options."""
        return ()

    @property
    def inactive_options(self) -> tuple[str, ...]:
        """Options that have no effect under the current values of the others.

        A cell gets their default values, so values that compute the same make one cell.
        """
        return ()

    @property
    def budgeted(self) -> bool:
        """Whether training continues until a budget ends it, also with an optimizer of its own."""
        return self.by_gradient

    @property
    def normalised(self) -> bool:
        """Whether the scores are log-probabilities; if not, the model has no perplexity."""
        return True

    @property
    def sums_to_one(self) -> bool:
        """Whether the probabilities sum to 1 after every context; if not, the sum may also be 0."""
        return self.normalised

    @abstractmethod
    def make(self, context: Context) -> LanguageModel:
        """Return an untrained model on ``context.device``."""


class OptimizerPart(AnyPart, ABC):
    """Options of an optimizer."""

    @property
    def needs_length(self) -> bool:
        """Whether the schedule needs ``Moment.share``, so a budget of epochs or tokens."""
        return False

    @abstractmethod
    def make(self, context: Context) -> Optimizer:
        """Return the optimizer."""


class RegularizerPart(AnyPart, ABC):
    """Options of a regularizer."""

    sites: ClassVar[tuple[str, ...]] = ()  # the model must offer one of them; () if it needs none

    @abstractmethod
    def make(self, context: Context) -> Regularizer:
        """Return the regularizer."""


class ReporterPart(AnyPart, ABC):
    """Options of a reporter."""

    sites: ClassVar[tuple[str, ...]] = ()  # the model must offer all of them

    @abstractmethod
    def make(self, context: Context) -> Reporter:
        """Return the reporter."""


class KernelPart(AnyPart, ABC):
    """Options of a kernel. Its sizes are options too, so a list of sizes is an axis of a grid."""

    devices: ClassVar[tuple[str, ...]] = ("cpu",)  # name patterns of devices that it can run on

    @abstractmethod
    def make(self, device: str) -> Kernel:
        """Return the kernel, whose samples are on ``device``."""


class DevicePart(AnyPart, ABC):
    """A kind of device. It is registered under a pattern of device names, such as ``cuda*``."""

    @abstractmethod
    def make(self) -> Device:
        """Return the functions of this kind of device."""

    def confine(self, device: str) -> str:
        """Hide all other devices of this kind from the process; return the device's name then.

        It is called in a process that runs one cell, before anything uses a device.
        """
        return device

    def instruction_sets(self) -> Mapping[str, str]:
        """Return the processor's instruction set that each library uses, by library name.

        It covers libraries that are already imported and whose instruction set is known.
        """
        return {}
