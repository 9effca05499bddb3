"""Networks of the user's own: a function ``FILE:FUNCTION`` that the user names is imported and called.

This is the only place where dsft runs code that is not its own or a library's. A model folder never gets here by
itself: its manifest records the builder's name for messages, and loading it needs the builder to be named again.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from dsft.errors import ModelError, did_you_mean
from dsft.storage import at_home

NO_ARGUMENTS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Builder:
    """A function in a Python file that returns a network.

    Attributes:
        file: The file; a leading ``~`` is the home folder, a relative path starts in the working directory.
        function: The function's name in the file. A class without required arguments will do as well. It may have an
            argument ``num_tokens``, which is the number of different tokens where the input is a text.
    """

    file: Path
    function: str

    @classmethod
    def parse(cls, text: str) -> Builder:
        """Read ``FILE:FUNCTION``, such as ``net.py:make``.

        Raises:
            ModelError: The text has another form.
        """
        file, colon, function = text.rpartition(":")
        if not colon or not file.endswith(".py") or not function.isidentifier():
            raise ModelError(
                f"builder {text!r}: expected FILE:FUNCTION, a Python file and a function in it that returns the "
                "network, such as net.py:make."
            )
        return cls(at_home(file), function)

    def __str__(self) -> str:
        """Return the name for messages and manifests: without the folder, which is private to this machine."""
        return f"{self.file.name}:{self.function}"

    def build(self, arguments: Mapping[str, int] = NO_ARGUMENTS) -> nn.Module:
        """Import the file and call the function with those of the arguments that it names.

        While the file is imported and the function runs, the file's folder is on ``sys.path``, so that the modules
        beside it can be imported. A file in a package (a folder with ``__init__.py``) is imported as a part of it, so
        that relative imports work.

        Args:
            arguments: What the input determines, see :attr:`dsft.preprocessing.InputPreprocessing.arguments`.

        Raises:
            ModelError: There is no such file or function, the function needs arguments, the user's code raises an
                error (which is shown with its traceback), or the result is not an ``nn.Module`` with parameters on
                the CPU.
        """
        if not self.file.is_file():
            found = "it is a folder" if self.file.is_dir() else "there is no such file"
            raise ModelError(f"builder {str(self.file)!r}: a Python file is needed, {found}.")
        with _importable(_import_root(self.file)):
            function = self._function(self._guarded(self._import, "importing it"), arguments)
            network = self._guarded(function, f"calling {self.function}()")
        return self._checked(network)

    def explain(self, error: BaseException, action: str) -> ModelError:
        """Return an error of the user's code as one of dsft's: with the traceback from the user's file on."""
        return ModelError(f"builder {self}: {action} failed{_hint(error)}\n{users_traceback(error, self.file)}")

    def _guarded(self, run: Callable[[], Any], action: str) -> Any:
        try:
            return run()
        # Scripts that parse a command line when they are imported end with SystemExit.
        except (Exception, SystemExit) as error:
            raise self.explain(error, action) from error

    def _import(self) -> ModuleType:
        name = _module_name(self.file)
        if "." in name:
            module = importlib.import_module(name)
            if Path(module.__file__ or "").resolve() != self.file.resolve():
                raise ImportError(f"the name {name!r} belongs to another module, {module.__file__!r}")
            return module
        spec = importlib.util.spec_from_file_location(name, self.file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{str(self.file)!r} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        # dataclasses and pickle look a class's module up there.
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    def _function(self, module: ModuleType, arguments: Mapping[str, int]) -> Callable[[], Any]:
        found: Any = getattr(module, self.function, None)
        if isinstance(found, nn.Module):
            raise ModelError(
                f"builder {self}: must be a function that builds the network, found the network itself. Write "
                f"def make(): return {self.function}"
            )
        if not callable(found):
            own = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
            what = f"{self.function} = {found!r}" if hasattr(module, self.function) else "no such function"
            raise ModelError(
                f"builder {self}: a function of that name is needed, found {what}.{did_you_mean(self.function, own)}"
            )
        named = {name: arguments[name] for name in _named_arguments(found) if name in arguments}
        if required := [name for name in _required_arguments(found) if name not in named]:
            known = f"with {', '.join(arguments)} as its only argument" if arguments else "without arguments"
            raise ModelError(
                f"builder {self}: is called {known}, found {self.function}{inspect.signature(found)}, which "
                f"needs {', '.join(required)}. Give them defaults, or write a function that passes them."
            )
        return functools.partial(found, **named)

    def _checked(self, network: Any) -> nn.Module:
        if isinstance(network, type) and issubclass(network, nn.Module):
            raise ModelError(
                f"builder {self}: must return a network, found the class {network.__name__}. Return "
                f"{network.__name__}() instead."
            )
        if not isinstance(network, nn.Module):
            raise ModelError(
                f"builder {self}: must return a torch.nn.Module, found {type(network).__name__}"
                f"{'. Add a return statement' if network is None else ''}."
            )
        lazy = (UninitializedParameter, UninitializedBuffer)
        if any(not isinstance(each, lazy) and each.is_meta for each in (*network.parameters(), *network.buffers())):
            raise ModelError(f"builder {self}: must return a network with values, found tensors on the meta device.")
        return network.cpu()


def users_traceback(error: BaseException, file: Path) -> str:
    """Format a traceback without the frames before the first one in the user's file."""
    told = traceback.TracebackException.from_exception(error)
    first = next((at for at, frame in enumerate(told.stack) if _is_same(frame.filename, file)), len(told.stack))
    del told.stack[:first]
    return "".join(told.format()).rstrip()


def _is_same(filename: str, file: Path) -> bool:
    return Path(filename).resolve() == file.resolve()


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the arguments of a function that have names of their own."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        # Some callables written in C tell nothing about themselves.
        return []
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each for each in parameters if each.kind not in variable]


def _required_arguments(function: Callable[..., Any]) -> list[str]:
    return [each.name for each in _parameters(function) if each.default is each.empty]


def _named_arguments(function: Callable[..., Any]) -> list[str]:
    positional = inspect.Parameter.POSITIONAL_ONLY
    return [each.name for each in _parameters(function) if each.kind is not positional]


def _hint(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return (
            ": it ended the program. Put what runs only as a script under if __name__ == '__main__'. The traceback is:"
        )
    if isinstance(error, ImportError) and "relative import" in str(error):
        return (
            ": relative imports need a package, that is an __init__.py in the file's folder. Add one, or write "
            "'import x' instead of 'from . import x'. The traceback is:"
        )
    return ". The traceback is:"


def _module_name(file: Path) -> str:
    """Return the name under which a file is imported: its place in its package, or one that meets no other module."""
    parts = [file.resolve().stem]
    folder = file.resolve().parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts) if len(parts) > 1 else f"_dsft_builder_{parts[0]}"


def _import_root(file: Path) -> Path:
    """Return the folder from which a file's package, or the modules beside it, are imported."""
    return file.resolve().parents[_module_name(file).count(".")]


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let modules in a folder be imported, as if it were that of the script that runs."""
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))
