"""Take the pictures of ``docs/pages.md``: ``python tests/browser/take_pictures.py PACKAGE FILMS OUT``.

PACKAGE is a model package of the demo, FILMS its folder of phantoms, OUT the folder of the pictures.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
from pages_server import CHROMIUM, load, use_key
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from test_pages_predict import give, sample, wait_done

from bentoml_service.secret_keys import create_secrets
from bentoml_service.security import create_key

_EVERY = 7  # of the phantoms is sent, so that the queue has cases
_SCALE = 1100 / 1440  # of the larger pictures: the page is read, not the pixel
_REVIEWS = {
    "pages-review.png": ((1440, 900), "dark", _SCALE),
    "pages-review-tablet.png": ((768, 1024), "light", 600 / 768),
}


def take_pictures(package: Path, films: Path, out: Path) -> None:
    """Serve the package, ask about the films, and take the pictures."""
    serving = load("service/serving.py")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        key = create_key(folder / "keys.json", "pictures", "radiologist")
        create_secrets(folder / "secrets.json")
        changes = {
            "CXR_MODEL": str(package.resolve()),
            "CXR_API_KEYS": str(folder / "keys.json"),
            "CXR_SECRETS": str(folder / "secrets.json"),
            "CXR_SERVICE__STATE_DIR": str(folder / "state"),
            "BENTOML_HOME": str(folder / "home"),
            "CXR_SERVICE__RATE_LIMIT": "100000/second",
        }
        with serving.serve("bentoml_service.service:CXR", folder, changes) as running, sync_playwright() as playwright:
            _send(running.url, key, films)
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            _predict(browser, running.url, key, out / "pages-predict.png")
            for name, (size, scheme, scale) in _REVIEWS.items():
                page = _open(browser, f"{running.url}/review", key, size, scheme)
                page.locator("img.heat").wait_for()
                _save(page, out / name, scale)
            browser.close()


def _send(url: str, key: str, films: Path) -> None:
    found = sorted(path for path in films.glob("[A-Z]*/*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    with httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=60) as client:
        for path in found[::_EVERY]:
            client.post("/predict", files={"file": ("film", path.read_bytes())})


def _predict(browser: Browser, url: str, key: str, out: Path) -> None:
    page = _open(browser, url, key, (1440, 900), "light")
    films = {f"{name}.png": sample(name) for name in ("tuberculosis", "normal", "dark", "strip")}
    give(page, {**films, "letter.pdf": b"%PDF-1.4 no film"})
    wait_done(page, 5)
    page.get_by_role("group", name="Heat map").get_by_role("button", name="Tuberculosis").click()
    page.get_by_role("img", name="Heat map for Tuberculosis").wait_for()
    _save(page, out, _SCALE)


def _open(browser: Browser, url: str, key: str, size: tuple[int, int], scheme: Any) -> Any:
    page = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, reduced_motion="reduce"
    ).new_page()
    page.goto(url)
    use_key(page, key)
    return page


def _save(page: Any, out: Path, scale: float) -> None:
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(500)  # until the last picture is drawn
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        size = round(shot.width * scale), round(shot.height * scale)
        small = shot.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    small.quantize(256, dither=Image.Dither.NONE).save(out, optimize=True)


if __name__ == "__main__":
    take_pictures(*map(Path, sys.argv[1:4]))
