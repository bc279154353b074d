"""A Python target that is ready to be called: imported and inspected once, its arguments checked at every call."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Collection
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import Any

import msgspec
from attrs import field, frozen

from graft.registry.context import Context
from graft.registry.secret import hide
from graft.registry.targets import TargetProblem, import_target

CONTEXT_NAMES = ("ctx", "context")
_KINDS = inspect.Parameter


class ArgumentProblem(TypeError):
    """The arguments do not fit the function. Each of `args` is one problem; `str()` joins them."""

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


@frozen
class Parameter:
    """One parameter that a flow may fill in. `annotation` is `inspect.Parameter.empty` when there is none."""

    name: str
    annotation: Any
    required: bool
    positional_only: bool


@frozen(eq=False)
class PythonFunction:
    """`call(table)` calls it. Invariant: `context` is not in `params`."""

    target: str
    function: Callable[..., Any]
    params: dict[str, Parameter]
    returns: Any  # annotation; `inspect.Parameter.empty` when there is none
    accepts_any: bool
    context: str | None
    is_async: bool
    doc: str
    _required: frozenset[str] = field(init=False)
    _converters: dict[str, Callable[[Any], Any]] = field(init=False)
    _positional: tuple[str, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        required = frozenset(each.name for each in self.params.values() if each.required)
        converters = {each.name: converter(each.annotation) for each in self.params.values()}
        object.__setattr__(self, "_required", required)
        object.__setattr__(self, "_converters", converters)
        object.__setattr__(self, "_positional", tuple(e.name for e in self.params.values() if e.positional_only))

    def bind(self, arguments: dict[str, Any], secret: Collection[str] = ()) -> dict[str, Any]:
        """The values to call with: owned by the function, of the annotated classes; a Secret for each text in those
        that are `secret`. Raises ArgumentProblem."""
        if not (self._required <= arguments.keys() and (self.accepts_any or arguments.keys() <= self.params.keys())):
            raise ArgumentProblem(*self._misfits(arguments))
        bound = {}
        problems = []
        for name, value in arguments.items():
            convert = hide if name in secret else self._converters.get(name, own)
            try:
                bound[name] = convert(value)
            except (msgspec.ValidationError, ValueError, TypeError) as error:
                problems.append(f"argument `{name}` of {self.target}: {error}")
        if problems:
            raise ArgumentProblem(*problems)
        return bound

    def call(self, bound: dict[str, Any], context: Context | None = None) -> Any:
        """Call with what `bind` gave; the coroutine when the function is async."""
        if self.context is not None:
            bound[self.context] = context
        if self._positional:
            first = [bound.pop(name) for name in self._positional if name in bound]
            return self.function(*first, **bound)
        return self.function(**bound)

    def _misfits(self, arguments: dict[str, Any]) -> list[str]:
        names = ", ".join(self.params) or "no arguments"
        problems = []
        for name in arguments.keys() - self.params.keys() if not self.accepts_any else ():
            near = get_close_matches(name, self.params, 1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            problems.append(f"{self.target} has no parameter `{name}` (it takes {names}){hint}")
        missing = ", ".join(f"`{name}`" for name in self.params if name in self._required - arguments.keys())
        if missing:
            problems.append(f"{self.target} needs {missing}, not given in `with`")
        return sorted(problems)


@functools.lru_cache(maxsize=4096)
def resolve(target: str, base: Path) -> PythonFunction:
    """Import and inspect `target`. Raises TargetProblem, or what the module raises while it is imported."""
    return inspect_function(target, import_target(target, base))


def inspect_function(target: str, found: Any) -> PythonFunction:
    if not callable(found):
        raise TargetProblem(f"`{target}` is a {type(found).__name__}, not a function", type="python.TypeError")
    if isinstance(found, type):
        raise TargetProblem(
            f"`{target}` is a class", type="python.TypeError", hint="a step calls a function; class nodes come later"
        )
    try:
        signature = inspect.signature(found)
    except (ValueError, TypeError):  # some built-in functions have none
        signature = inspect.Signature([_KINDS("arguments", _KINDS.VAR_KEYWORD)])
    hints = _hints(found)
    params, context, accepts_any = {}, None, False
    for each in signature.parameters.values():
        annotation = hints.get(each.name, each.annotation)
        if each.kind is _KINDS.VAR_KEYWORD:
            accepts_any = True
        elif each.kind is _KINDS.VAR_POSITIONAL:
            continue
        elif context is None and _is_context(each.name, annotation):
            context = each.name
        else:
            required = each.default is _KINDS.empty
            params[each.name] = Parameter(each.name, annotation, required, each.kind is _KINDS.POSITIONAL_ONLY)
    return PythonFunction(
        target=target,
        function=found,
        params=params,
        returns=hints.get("return", signature.return_annotation),
        accepts_any=accepts_any,
        context=context,
        is_async=_is_async(found),
        doc=inspect.getdoc(found) or "",
    )


def _hints(found: Any) -> dict[str, Any]:
    target = found.func if isinstance(found, functools.partial) else found
    target = target if hasattr(target, "__annotations__") else getattr(target, "__call__", target)  # noqa: B004
    try:
        return typing.get_type_hints(inspect.unwrap(target), include_extras=True)
    except Exception:  # a name under TYPE_CHECKING, say: then the text of an annotation says nothing to us
        return {
            name: hint for name, hint in getattr(target, "__annotations__", {}).items() if not isinstance(hint, str)
        }


def _is_context(name: str, annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.rpartition(".")[2] == "Context"
    return annotation is Context or (annotation is _KINDS.empty and name in CONTEXT_NAMES[:1])


def _is_async(found: Any) -> bool:
    while isinstance(found, functools.partial):
        found = found.func
    return inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(getattr(found, "__call__", None))  # noqa: B004


def converter(annotation: Any) -> Callable[[Any], Any]:
    """How a JSON value becomes an argument: checked and structured when the annotation says how, else just owned."""
    if annotation is _KINDS.empty or annotation is Any or isinstance(annotation, str):
        return own
    try:
        msgspec.json.Decoder(annotation, dec_hook=_decode)  # is it a type that msgspec knows?
    except Exception:
        return own
    if annotation in (str, int, bool):
        exact = annotation

        def check(value: Any) -> Any:
            return value if type(value) is exact else msgspec.convert(value, exact)

        return check

    has_durations = _has_durations(annotation)

    def convert(value: Any) -> Any:
        try:
            return msgspec.convert(own(value), annotation, dec_hook=_decode, str_keys=True)
        except msgspec.ValidationError:
            if not has_durations:
                raise
        # Our durations are seconds; msgspec takes a number for a timedelta only when it is not strict.
        return msgspec.convert(own(value), annotation, dec_hook=_decode, str_keys=True, strict=False)

    return convert


def _has_durations(annotation: Any) -> bool:
    """Whether a timedelta stands anywhere in it, in the fields of its classes too."""
    seen: set[int] = set()
    waiting: list[Any] = [msgspec.inspect.type_info(annotation)]
    while waiting:
        found = waiting.pop()
        if isinstance(found, msgspec.inspect.TimeDeltaType):
            return True
        if isinstance(found, (tuple, list)):
            waiting += found
        elif isinstance(found, (msgspec.inspect.Type, msgspec.inspect.Field)) and id(found) not in seen:
            seen.add(id(found))
            waiting += (getattr(found, name) for name in found.__struct_fields__)
    return False


def _decode(wanted: type[Any], value: Any) -> Any:
    """Classes that msgspec has no JSON for: a path is made from text, anything else gets the value as it is."""
    if isinstance(wanted, type) and issubclass(wanted, PurePath):
        return wanted(value)
    if isinstance(wanted, type) and not isinstance(value, wanted) and isinstance(value, (dict, list)):
        raise ValueError(f"expected `{wanted.__name__}`, which cannot be made from JSON")
    return value


def own(value: Any) -> Any:
    """A copy of the lists and tables in `value`: other steps see the same result, and a function may change its own."""
    if type(value) is dict:
        return {key: own(each) for key, each in value.items()}
    if type(value) is list:
        return [own(each) for each in value]
    return value
