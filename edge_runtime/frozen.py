"""Frozen records, as `dataclasses` makes them, without its import of `inspect` and its compiler run for each class.

Both are paid at every start, before the first answer (`benchmarks/runtime_budget.py`, rows of imports and cold start).

>>> @frozen
... class Size:
...     width: int
...     height: int = 1
>>> Size(4), Size(4) == Size(4, 1)
(Size(width=4, height=1), True)
"""

from __future__ import annotations

from typing import Any, TypeVar, dataclass_transform

Class = TypeVar("Class", bound=type)


@dataclass_transform(frozen_default=True)
def frozen(cls: Class) -> Class:
    """Gives a class with annotated fields what `dataclass(frozen=True)` would; what it defines itself stays.

    A field's default is the class attribute of its name, which nobody may change. Fields that `_uncompared` names
    do not count for equality. `dataclasses.replace`, `fields` and `asdict` work on the result.
    """
    names = tuple(cls.__annotations__)
    compared = tuple(name for name in names if name not in getattr(cls, "_uncompared", ()))
    needed = {name for name in names if not hasattr(cls, name)}

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        values = dict(zip(names, args, strict=False))
        if len(values) != len(args) or not values.keys().isdisjoint(kwargs) or kwargs.keys() - set(names):
            raise TypeError(f"{cls.__name__} takes {', '.join(names)}; got {len(args)} values and {', '.join(kwargs)}")
        values |= kwargs
        if not needed <= values.keys():
            raise TypeError(f"{cls.__name__} is missing {', '.join(sorted(needed - values.keys()))}")
        self.__dict__.update(values)
        if hasattr(self, "__post_init__"):
            self.__post_init__()

    def values_of(self: Any) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in compared)

    def same(self: Any, other: Any) -> Any:
        return values_of(self) == values_of(other) if type(self) is type(other) else NotImplemented

    def shown(self: Any) -> str:
        return f"{cls.__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    def refuse(_self: Any, name: str, *_: Any) -> None:
        raise AttributeError(f"{cls.__name__} is frozen: its {name} cannot be changed")

    made: dict[str, Any] = {"__init__": init, "__repr__": shown, "__setattr__": refuse, "__delattr__": refuse}
    if "__eq__" not in vars(cls):
        made |= {"__eq__": same, "__hash__": lambda self: hash(values_of(self))}
    for name, method in {**made, "__match_args__": names, "__dataclass_fields__": _Fields()}.items():
        setattr(cls, name, method)
    return cls


def names_of(value: Any) -> tuple[str, ...]:
    """The names of a frozen record's fields; none for anything else."""
    return getattr(type(value), "__match_args__", ())


class _Fields:
    """What the functions of `dataclasses` look for, made by `dataclasses` itself when one of them asks."""

    def __get__(self, _instance: Any, cls: type) -> Any:
        import dataclasses

        rows = [
            (name, kind, dataclasses.field(default=vars(cls).get(name, dataclasses.MISSING)))
            for name, kind in cls.__annotations__.items()
        ]
        twin: Any = dataclasses.make_dataclass(cls.__name__, rows)
        return twin.__dataclass_fields__
