from __future__ import annotations

from benchmarks.plot import draw
from benchmarks.results import Row, write_rows


def test_the_picture_shows_runs_and_generations(tmp_path):
    names = ("head", "head_end_to_end", "generation", "generation_warm", "serve_1")
    write_rows(tmp_path / "speed.json", [Row.of(name, name, [5.0]) for name in names])
    draw(tmp_path / "speed.json", tmp_path / "images" / "speed.png")
    assert (tmp_path / "images" / "speed.png").read_bytes().startswith(b"\x89PNG")
