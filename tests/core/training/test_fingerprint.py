import ast
from pathlib import Path
from typing import Any

import cxr_core
from cxr_core.dataset.frames import LabelledFrames
from cxr_core.training.fingerprint import _CODE, code_digest, films_digest

ROOT = Path(cxr_core.__file__).parent
# Imported by the loop, but without a say in the weights: how progress is shown, digests are taken, settings are read.
NO_SAY = {
    "training/fingerprint",
    "progress",
    "errors",
    "digests",
    "store",
    "settings",
    "settings_sections",
    "settings_stress",
}


def _imported(module: Path, seen: set[str]) -> set[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cxr_core."):
            name = node.module.removeprefix("cxr_core.").replace(".", "/")
            path = ROOT / f"{name}.py"
            if path.is_file() and name not in seen and name not in NO_SAY:
                seen.add(name)
                _imported(path, seen)
    return seen


def test_every_module_that_decides_the_weights_is_in_the_digest_of_the_code() -> None:
    listed = {f"{room}/{name}" for room, names in _CODE.items() for name in names}
    assert listed == _imported(ROOT / "training/loop.py", {"training/loop"})


def test_another_line_of_code_is_another_digest(monkeypatch: Any) -> None:
    before = code_digest()
    real = Path.read_bytes
    monkeypatch.setattr(
        Path, "read_bytes", lambda self: real(self) + (b"# changed" if self.name == "engine.py" else b"")
    )
    assert code_digest() != before


def test_other_films_labels_or_sources_are_another_digest(blobs: Any) -> None:
    films: LabelledFrames = blobs(6, 48, 1)
    others = [
        films.subset([0, 1, 2, 3, 4]),
        films.subset([1, 0, 2, 3, 4, 5]),
        LabelledFrames(films.frames, films.labels[::-1].copy(), films.keys),
        LabelledFrames(films.frames, films.labels, films.keys, ["a"] * 6),
        films.reduced(32),
    ]
    digests = {films_digest(data) for data in [films, *others]}
    assert len(digests) == 6
    assert films_digest(blobs(6, 48, 1)) == films_digest(films)
