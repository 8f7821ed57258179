"""The way of X through the rooms of the house, as tools/walk.py draws it for the design page."""

import runpy
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[1] / "tools" / "walk.py"
MOST = {"GaussianMixture": 7, "DiffusionMixture": 8, "DDPMMixture": 8}


@pytest.mark.slow
def test_a_fit_comes_through_few_rooms():
    tool = runpy.run_path(str(TOOL))
    walks = tool["walks"]()
    assert walks.keys() == MOST.keys()
    for name, rooms in walks.items():
        assert "samples" in rooms[:2], name  # X is chunked before anything else is done with it
        assert len(rooms) <= MOST[name], rooms
        assert set(rooms) <= set(tool["FLOORS"])
