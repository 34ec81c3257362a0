"""The page in a real browser: it opens from a file, and its parts do what they are for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from clan.data.datasets import open_dataset

DESKTOP, PHONE = (1280, 900), (360, 740)

# every element with text of its own, and what it is read against: backgrounds are laid over one
# another from the root to the element
CONTRAST = """
const number = (color) => {
  const parts = color.match(/[\\d.]+/g).map(Number);
  return { rgb: parts.slice(0, 3), alpha: parts.length > 3 ? parts[3] : 1 };
};
const over = (top, base) => top.rgb.map((v, i) => v * top.alpha + base[i] * (1 - top.alpha));
const light = (rgb) => {
  const [r, g, b] = rgb.map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const back = (element) => {
  const chain = [];
  for (let e = element; e; e = e.parentElement) chain.unshift(e);
  return chain.reduce((base, e) => over(number(getComputedStyle(e).backgroundColor), base),
    [255, 255, 255]);
};
const ratio = (a, b) => {
  const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
};
document.querySelectorAll("details").forEach((each) => { each.open = true; });
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  const style = getComputedStyle(element);
  const box = element.getBoundingClientRect();
  const hidden = element.closest(".spoken, [hidden], script, :disabled") || !box.width;
  if (!own || hidden || style.visibility === "hidden") continue;
  const svg = element instanceof SVGElement;
  const ground = back(element);
  const ink = over(number(svg ? style.fill : style.color), ground);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  found.push([ratio(ink, ground), large ? 3 : 4.5, element.tagName, element.textContent.trim()]);
}
for (const line of document.querySelectorAll(".key path")) {
  const ground = back(line);
  found.push([ratio(number(getComputedStyle(line).stroke).rgb, ground), 3, "line", ""]);
}
return found;
"""


@pytest.fixture
def browser(chrome: Chrome, page: Path) -> Iterator[Chrome]:
    show(chrome, page)
    yield chrome
    assert [entry for entry in chrome.get_log("browser") if entry["level"] != "INFO"] == []


def show(
    chrome: Chrome, page: Path, size: tuple[int, int] = DESKTOP, scheme: str = "light"
) -> None:
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        # scrolling takes no time: what is clicked is where it was found
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    width, height = size
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    chrome.get_log("performance")
    chrome.get(page.as_uri())


def element(chrome: Chrome, name: str) -> WebElement:
    return chrome.find_element(By.ID, name)


def split(chrome: Chrome) -> int:
    return int(element(chrome, "divider").get_attribute("aria-valuenow") or -1)


def center(chrome: Chrome, name: str) -> None:
    chrome.execute_script(f"document.getElementById('{name}').scrollIntoView({{block: 'center'}})")


def shown(chrome: Chrome) -> list[str]:
    """Return the addresses of the two layers that lie on top."""
    images = chrome.find_elements(By.CSS_SELECTOR, "#stage .side img:last-child")
    return [image.get_attribute("src") or "" for image in images]


def transform(chrome: Chrome) -> str:
    image = chrome.find_element(By.CSS_SELECTOR, "#stage .side img")
    return image.value_of_css_property("transform")


def touch(chrome: Chrome, kind: str, *points: tuple[float, float]) -> None:
    listed = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
    chrome.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": listed})


def stage_box(chrome: Chrome) -> Any:
    return chrome.execute_script(
        "const box = document.getElementById('stage').getBoundingClientRect();"
        "return {x: box.x, y: box.y, width: box.width, height: box.height};"
    )


def test_it_needs_nothing_but_its_file(browser: Chrome, page: Path) -> None:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    ]
    assert page.as_uri() in asked
    assert [url[:80] for url in asked if not url.startswith(("data:", page.as_uri()))] == []
    images = browser.execute_script(
        "return [...document.images].filter((i) => i.src && !(i.complete && i.naturalWidth)).length"
    )
    assert images == 0


def test_the_divider_follows_the_mouse(browser: Chrome) -> None:
    center(browser, "stage")
    assert split(browser) == 50
    width = element(browser, "stage").size["width"]
    handle = element(browser, "divider")
    ActionChains(browser).drag_and_drop_by_offset(handle, round(width / 4), 0).perform()
    assert split(browser) == pytest.approx(75, abs=1)
    # unzoomed, the whole picture is a handle; nothing is beyond its ends
    stage = element(browser, "stage")
    ActionChains(browser).move_to_element_with_offset(stage, -round(width / 4), 0).click().perform()
    assert split(browser) == pytest.approx(25, abs=1)
    ActionChains(browser).drag_and_drop_by_offset(handle, -round(width * 0.28), 0).perform()
    assert split(browser) == 0
    clip = element(browser, "side-right").value_of_css_property("clip-path")
    assert clip in ("inset(0px 0px 0px 0%)", "inset(0% 0% 0% 0%)", "inset(0px)")


def test_the_divider_follows_the_keyboard(browser: Chrome) -> None:
    handle = element(browser, "divider")
    handle.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert split(browser) == 51
    handle.send_keys(Keys.PAGE_UP)
    assert split(browser) == 61
    handle.send_keys(Keys.END, Keys.ARROW_RIGHT)
    assert split(browser) == 100
    handle.send_keys(Keys.HOME)
    assert split(browser) == 0
    assert handle.get_attribute("aria-valuetext") == "0 % source_only, 100 % clan"
    # it is reached by the tabulator alone
    browser.execute_script("document.getElementById('stage').focus()")
    ActionChains(browser).send_keys(Keys.TAB).perform()
    assert browser.switch_to.active_element == handle


def test_images_and_layers_are_chosen(browser: Chrome) -> None:
    first = shown(browser)
    assert first[0] != first[1]
    element(browser, "next").click()
    second = shown(browser)
    assert second != first
    assert element(browser, "scene-name").text == "2 of 3: 001"
    thumbs = browser.find_elements(By.CSS_SELECTOR, "#film button")
    assert [t.get_attribute("aria-pressed") for t in thumbs] == ["false", "true", "false"]
    thumbs[0].click()
    assert shown(browser) == first
    element(browser, "previous").click()
    assert "3 of 3" in element(browser, "scene-name").text
    thumbs[0].click()
    titles = [option.text for option in Select(element(browser, "left")).options]
    assert titles == [
        "image",
        "source_only",
        "clan",
        "ground truth",
        "alignment map, source_only",
        "alignment map, clan",
    ]
    Select(element(browser, "left")).select_by_visible_text("ground truth")
    Select(element(browser, "right")).select_by_visible_text("alignment map, clan")
    tags = [element(browser, f"tag-{side}").text for side in ("left", "right")]
    assert tags == ["ground truth", "alignment map, clan"]
    changed = shown(browser)
    assert not set(changed) & set(first)
    element(browser, "swap").click()
    assert shown(browser) == changed[::-1]


def test_the_class_under_the_pointer_is_read_out(browser: Chrome, street: Path) -> None:
    truth = open_dataset(str(street / "photos/photos.yaml"), split="val").read_label(0)
    center(browser, "stage")
    box = stage_box(browser)
    height, width = truth.shape
    for row, column in ((1, 5), (height - 2, width - 4)):
        x = (column + 0.5) / width * box["width"] - box["width"] / 2
        y = (row + 0.5) / height * box["height"] - box["height"] / 2
        stage = element(browser, "stage")
        ActionChains(browser).move_to_element_with_offset(stage, round(x), round(y)).perform()
        name = ("sky", "building", "road")[truth[row, column]]
        said = element(browser, "readout").text
        assert f"ground truth: {name}" in said
        assert "?" not in said


def test_zoom_and_pan(browser: Chrome) -> None:
    center(browser, "stage")
    assert transform(browser) == "matrix(1, 0, 0, 1, 0, 0)"
    assert not element(browser, "zoom-out").is_enabled()
    element(browser, "zoom-in").click()
    scale = float(transform(browser).split("(")[1].split(",")[0])
    assert scale == pytest.approx(1.5)
    before = transform(browser)
    stage = element(browser, "stage")
    ActionChains(browser).move_to_element_with_offset(
        stage, 200, 40
    ).click_and_hold().move_by_offset(30, 10).release().perform()
    assert transform(browser) != before
    assert split(browser) == 50
    before = transform(browser)
    browser.execute_script("document.getElementById('stage').focus()")
    ActionChains(browser).send_keys(Keys.ARROW_DOWN).perform()
    assert transform(browser) != before
    ActionChains(browser).send_keys("0").perform()
    assert transform(browser) == "matrix(1, 0, 0, 1, 0, 0)"


def test_touch_moves_the_divider_and_pinches(chrome: Chrome, page: Path) -> None:
    show(chrome, page, PHONE)
    center(chrome, "stage")
    box = stage_box(chrome)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch(chrome, "touchStart", (x, y))
    for part in (0.1, 0.2, 0.3):
        touch(chrome, "touchMove", (x + part * box["width"], y))
    touch(chrome, "touchEnd")
    assert split(chrome) == pytest.approx(80, abs=2)
    touch(chrome, "touchStart", (x - 20, y), (x + 20, y))
    touch(chrome, "touchMove", (x - 40, y), (x + 40, y))
    touch(chrome, "touchMove", (x - 60, y), (x + 60, y))
    touch(chrome, "touchEnd")
    assert float(transform(chrome).split("(")[1].split(",")[0]) == pytest.approx(3, rel=0.2)


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read_in_both_schemes(
    chrome: Chrome, page: Path, size: tuple[int, int], scheme: str
) -> None:
    show(chrome, page, size, scheme)
    found = chrome.execute_script(CONTRAST)
    assert len(found) > 100
    assert [entry for entry in found if entry[0] < entry[1]] == []
    ground = chrome.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
    assert ("255, 255, 255" in ground) == (scheme == "light")


def test_the_scheme_can_be_chosen(browser: Chrome) -> None:
    body = browser.find_element(By.TAG_NAME, "body")
    light = body.value_of_css_property("background-color")
    element(browser, "scheme").click()
    assert body.value_of_css_property("background-color") != light
    assert element(browser, "scheme").text == "Light"
    assert [e for e in browser.execute_script(CONTRAST) if e[0] < e[1]] == []
    element(browser, "scheme").click()
    assert body.value_of_css_property("background-color") == light


def test_nothing_is_wider_than_a_phone(chrome: Chrome, page: Path) -> None:
    show(chrome, page, PHONE)
    chrome.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    width = chrome.execute_script("return document.documentElement.scrollWidth")
    assert width == PHONE[0]


def test_a_print_shows_what_is_folded(browser: Chrome) -> None:
    folded = "return [...document.querySelectorAll('details')].filter((d) => !d.open).length"
    assert browser.execute_script(folded) > 0
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script(folded) == 0
    assert browser.execute_cdp_cmd("Page.printToPDF", {})["data"]
    browser.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(folded) > 0


def test_without_scripts_the_images_are_there(chrome: Chrome, page: Path) -> None:
    chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(chrome, page)
        tiles = chrome.find_elements(By.CSS_SELECTOR, "#sheet[open] .tiles img")
        assert len(tiles) == 3 * 6
        assert not element(chrome, "viewer").is_displayed()
    finally:
        chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
