"""Engines: each computes the same model its own way. Start with `contract`, then `scalar`.

`contract` says what every engine does, `registry` finds one by its name, `base` is what an engine
written in Python inherits. `scalar` is reference.py behind the contract; `exact` and `fast` wrap
the compiled module.
"""

from .contract import Engine as Engine
from .contract import Generated as Generated
from .contract import Run as Run
from .contract import State as State
from .contract import Stop as Stop
from .contract import Tokens as Tokens
from .contract import Trace as Trace
from .registry import AUTO as AUTO
from .registry import BUILT_IN as BUILT_IN
from .registry import available as available
from .registry import engine_class as engine_class
from .registry import engine_names as engine_names
from .registry import guessed_engine as guessed_engine
