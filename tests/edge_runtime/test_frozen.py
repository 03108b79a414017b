import dataclasses
import pickle  # noqa: TID251  (only to show that workers could be sent one)
import subprocess
import sys

import pytest

from edge_runtime.frozen import frozen, names_of


@frozen
class Size:
    """A class as the runtime's own are."""

    width: int
    height: int = 1
    note: str = ""
    _uncompared = ("note",)

    def __post_init__(self):
        if self.width < 0:
            raise ValueError("below 0")


def test_it_does_what_a_frozen_dataclass_does():
    one = Size(4, height=2)
    assert (one.width, one.height, one.note) == (4, 2, "") and repr(one) == "Size(width=4, height=2, note='')"
    assert one == Size(4, 2, "other") and hash(one) == hash(Size(4, 2, "other")) and one != Size(4) and one != (4, 2)
    match one:
        case Size(width, height):
            assert (width, height) == (4, 2)
    with pytest.raises(ValueError, match="below 0"):
        Size(-1)
    for change in (lambda: setattr(one, "width", 5), lambda: delattr(one, "width")):
        with pytest.raises(AttributeError, match="Size is frozen: its width cannot be changed"):
            change()
    assert pickle.loads(pickle.dumps(one)) == one


@pytest.mark.parametrize(
    ("given", "named", "said"),
    [((), {}, "missing width"), ((1, 2, "", 4), {}, "takes"), ((1,), {"width": 2}, "takes"), ((1,), {"x": 1}, "takes")],
)
def test_values_that_do_not_fit_its_fields_are_refused(given, named, said):
    with pytest.raises(TypeError, match=f"Size .*{said}|Size {said}"):
        Size(*given, **named)


def test_the_functions_of_dataclasses_take_it():
    one = Size(4)
    assert dataclasses.is_dataclass(one) and [field.name for field in dataclasses.fields(one)] == list(names_of(one))
    assert dataclasses.replace(one, height=3) == Size(4, 3) and dataclasses.asdict(one)["height"] == 1


def test_a_start_imports_neither_dataclasses_nor_inspect():
    code = (
        "import sys; from edge_runtime import load; print([n for n in ('dataclasses', 'inspect') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
