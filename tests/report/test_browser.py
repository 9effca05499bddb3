"""The pages in a real browser: Debian's chromium, without a screen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Literal

import pytest
from playwright.sync_api import BrowserContext, Page, sync_playwright

from tests.workshop import Workshop

CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")]

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
CONTRAST = """() => {
  const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const luminance = (colour) => {
    const [red, green, blue] = colour.match(/[\\d.]+/g).slice(0, 3).map(Number).map(channel);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (!colour.startsWith("rgba(0, 0, 0, 0")) return colour;
    }
  };
  const parts = document.querySelectorAll("h1, p, dt, dd, th, td, caption, a, summary, figcaption, button");
  return [...parts].map((part) => {
    const pair = [luminance(getComputedStyle(part).color), luminance(ground(part))].sort((a, b) => b - a);
    return (pair[0] + 0.05) / (pair[1] + 0.05);
  });
}"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"), executable_path=CHROMIUM, headless=True, args=FLAGS
        )
        yield context
        context.close()


@pytest.fixture
def page(browser: BrowserContext, workshop: Workshop) -> Iterator[Page]:
    """The page of the separable run; whatever it complains about or asks for beyond itself fails the test."""
    complaints: list[str] = []
    page = browser.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url[:80]))
    address = (workshop.separable / "report.html").as_uri()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    yield page
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [address]
    page.close()


def test_all_pictures_load(page: Page) -> None:
    sizes = page.eval_on_selector_all("img", "all => all.map(image => [image.complete, image.naturalWidth])")
    assert len(sizes) >= 6
    assert all(complete and width > 100 for complete, width in sizes)


def test_tables_sort_both_ways_and_say_so(page: Page) -> None:
    table = page.get_by_role("region", name="Scores of all networks")
    column = "all => all.map(row => row.cells[3].textContent)"
    for direction, is_reversed in (("ascending", False), ("descending", True)):
        table.get_by_role("button", name="top-1 %").click()
        values = [float(text) for text in table.locator("tbody tr").evaluate_all(column)]
        assert values == sorted(values, reverse=is_reversed)
        assert table.locator("th[aria-sort]").get_attribute("aria-sort") == direction
    table.get_by_role("button", name="network").click()
    names = table.locator("tbody th").all_text_contents()
    assert names == sorted(names)
    assert table.locator("th[aria-sort]").count() == 1


def test_numbers_sort_by_value_and_empty_cells_go_last(page: Page) -> None:
    page.get_by_text("Table of all convolutions").click()
    table = page.get_by_role("region", name="All convolutions")
    table.get_by_role("button", name="MACs before").click()
    column = "all => all.map(row => Number(row.cells[4].dataset.value))"
    values = table.locator("tbody tr").evaluate_all(column)
    assert values == sorted(values)
    assert values[0] < values[-1]
    for is_reversed in (False, True):
        table.get_by_role("button", name="relative error").click()
        errors = table.locator("tbody tr").evaluate_all("all => all.map(row => row.cells[6].textContent)")
        filled = errors[: errors.index("-")]
        assert filled == sorted(filled, key=float, reverse=is_reversed)
        assert len(set(filled)) > 1
        assert set(errors[len(filled) :]) == {"-"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_both_have_contrast(page: Page, scheme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in ground.removeprefix("rgb(").removesuffix(")").split(", "))
    assert (brightness > 600) == (scheme == "light")
    # WCAG 2.2, success criterion 1.4.3: text needs a contrast of 4.5.
    assert min(page.evaluate(CONTRAST)) >= 4.5


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_only_tables_and_pictures_scroll_sideways(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_paper_shows_what_is_folded(page: Page) -> None:
    assert not page.get_by_text("All epochs, as in metrics.jsonl").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert page.evaluate("[...document.querySelectorAll('details')].every(part => part.open)")
