"""A Ray that cannot be used is one sentence. What workers do is in `tests/pipeline/test_on_ray.py`, with a real one."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from trialigngr.foundation.errors import RecipeError
from trialigngr.foundation.executor import RaySettings, make_executor

# What ray.init of 2.60 raises, class and words, on a machine too busy to start it; and where nobody listens.
SLOW = Exception("The current node timed out during startup. This could happen because some of the processes failed.")
NOBODY = ConnectionError("Could not find any running Ray instance. Please specify the one to connect to.\nMore.")


@pytest.mark.parametrize(
    ("address", "raised", "said"),
    [
        ("local", SLOW, "cannot start a cluster of this run's own .The current node timed out during startup"),
        ("auto", SLOW, "There is no Ray cluster at 'auto' .The current node timed out"),
        ("auto", NOBODY, "There is no Ray cluster at 'auto' .Could not find any running Ray instance.*; start one"),
    ],
)
def test_a_ray_that_does_not_stand(address: str, raised: Exception, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**words: Any) -> None:
        raise raised

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False, init=init))
    with pytest.raises(RecipeError, match=said):
        make_executor(lambda: int, RaySettings(address=address))


def test_a_ray_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RecipeError, match=r"pip install 'trialigngr\[ray\]'"):
        make_executor(lambda: int, RaySettings(address="auto"))
