"""The report in a real browser: keys, numbers, hostile names, the net, a phone; headless Chromium, if there is one.

Shapes: S seeds, E logged epochs, L layers.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import synthetic_trajectory
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

import ibjax
from ibjax import Trajectory

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
SCRIPT = "<script>document.title = 'taken'</script>"
IMAGE = "<img src=https://example.org/x.png onerror=\"document.title='taken'\">"
LONGEST_S = 60

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        None in (BROWSER, DRIVER),
        reason="no browser: chromium and chromedriver are not on PATH (Debian: chromium-driver)",
    ),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = str(BROWSER)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def show(browser: Chrome, tmp_path: Path) -> Iterator[Callable[..., Chrome]]:
    """Opens the report of runs; what the console and the network say of the test is looked at in the end."""
    for kind in ("browser", "performance"):
        browser.get_log(kind)

    def opened(runs: Any, *, width: int = 1280, dark: bool = False) -> Chrome:
        path = ibjax.report(runs, tmp_path / "report.html", bound=False)
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": theme})
        browser.get(path.as_uri())
        until(browser, "return document.documentElement.dataset.ready === 'true'")
        return browser

    yield opened
    errors = [entry for entry in browser.get_log("browser") if entry["level"] not in ("INFO", "DEBUG")]
    assert errors == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if url.startswith("file:")]  # the log works
    assert {url.partition(":")[0] for url in asked} <= {"file", "data", "blob"}
    assert browser.title == "The information plane"


def until(browser: Chrome, script: str) -> Any:
    return WebDriverWait(browser, LONGEST_S).until(lambda driver: driver.execute_script(script))


def press(browser: Chrome, *keys: str) -> None:
    for key in keys:
        ActionChains(browser).send_keys(key).perform()


def table(browser: Chrome, file: int = 0) -> npt.NDArray[np.float64]:
    """(L, 2) I(X;T) and I(T;Y) as the page has them."""
    rows = browser.execute_script(
        "return [...document.querySelectorAll(`article[data-file='${arguments[0]}'] .numbers tbody tr`)]"
        ".map((row) => ['.i_xt', '.i_ty'].map((cell) => Number(row.querySelector(cell).textContent)))",
        file,
    )
    return np.array(rows, np.float64)


def means(trajectory: Trajectory, epoch: int, seeds: list[int]) -> npt.NDArray[np.float64]:
    """(L, 2) means over the seeds at a logged epoch."""
    rows = np.flatnonzero(np.isin(trajectory.seeds, seeds))
    values = (trajectory.i_xt, trajectory.i_ty)
    return np.stack([v[rows, trajectory.epoch_index(epoch)].astype(np.float64).mean(axis=0) for v in values], axis=1)


def test_numbers_keys_and_switches(damaged: Trajectory, show: Callable[..., Chrome]) -> None:
    """Shown is what the file holds, to the four digits of the page, at the epoch that the keys lead to."""
    extras = {"i_xt_kde": damaged.i_xt * np.float32(0.5), "i_ty_kde": damaged.i_ty * np.float32(0.25)}
    browser = show(dataclasses.replace(damaged, extras=extras))
    healthy, epochs = [0, 2, 3, 5], damaged.epochs.tolist()
    slider = browser.find_element("id", "epoch")
    shown = browser.find_element("id", "shown")
    assert shown.text == f"epoch {epochs[-1]:,}"
    np.testing.assert_allclose(table(browser), means(damaged, epochs[-1], healthy), atol=5.1e-5)
    slider.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert shown.text == f"epoch {epochs[-3]:,}"
    slider.send_keys(Keys.HOME)
    browser.execute_script("document.activeElement.blur()")
    press(browser, *[Keys.ARROW_RIGHT] * 5)  # without the focus
    assert shown.text == f"epoch {epochs[5]}"
    np.testing.assert_allclose(table(browser), means(damaged, epochs[5], healthy), atol=5.1e-5)
    press(browser, Keys.SPACE)
    until(browser, "return document.getElementById('epoch').value >= 9")
    press(browser, Keys.SPACE)
    place = int(str(slider.get_property("value")))
    assert browser.find_element("id", "play").text == "▶ Play"
    np.testing.assert_allclose(table(browser), means(damaged, epochs[place], healthy), atol=5.1e-5)

    browser.find_element("css selector", ".seeds summary").click()
    assert not browser.find_element("css selector", "[data-seed='1']").is_enabled()
    browser.find_element("css selector", "[data-seed='2']").click()
    np.testing.assert_allclose(table(browser), means(damaged, epochs[place], [0, 3, 5]), atol=5.1e-5)
    browser.find_element("css selector", "[data-all='']").click()
    assert np.isnan(table(browser)).all()
    browser.find_element("css selector", "[data-all='1']").click()
    browser.execute_script(
        "const s = document.getElementById('estimator'); s.value = 1; s.dispatchEvent(new Event('change'))"
    )
    of_kde = means(damaged, epochs[place], healthy) * [0.5, 0.25]
    np.testing.assert_allclose(table(browser), of_kde, atol=5.1e-5)


def drawn(browser: Chrome, source: str, file: int = 0) -> dict[str, Any]:
    """The data of a source of the plane, and where its first point is in the window."""
    found: dict[str, Any] = browser.execute_script(
        """
        const host = document.getElementById(`plot-${arguments[0]}-plane`);
        host.scrollIntoView({ block: "center" });
        const view = [...Bokeh.index.roots].find((each) => host.contains(each.el));
        const data = view.model.document.get_model_by_name(arguments[1]).data;
        const box = view.canvas_view.el.getBoundingClientRect();
        return { x: [...data.x], y: [...data.y], seed: data.seed,
                 left: box.left + view.frame.x_scale.compute(data.x[0]),
                 top: box.top + view.frame.y_scale.compute(data.y[0]) };
        """,
        file,
        source,
    )
    return found


TOOLTIPS = """
    const found = [];
    const walk = (node) => {
      if (node.classList && node.classList.contains("bk-tooltip-content")) found.push(node.textContent);
      if (node.shadowRoot) walk(node.shadowRoot);
      node.childNodes.forEach(walk);
    };
    walk(document.body);
    return found.join(" | ");
"""


def test_hostile_names_do_nothing_and_points_tell_their_numbers(show: Callable[..., Chrome]) -> None:
    hostile = synthetic_trajectory(names=("first", SCRIPT, IMAGE))
    config = {"config": {SCRIPT: IMAGE}, "command": [IMAGE], "versions": {SCRIPT: SCRIPT}}
    browser = show({IMAGE: dataclasses.replace(hostile, config=config), SCRIPT: hostile})
    body = browser.find_element("tag name", "body").text
    assert SCRIPT in body
    assert IMAGE in body
    assert browser.find_elements("css selector", "img") == []
    points = drawn(browser, "seeds:1", file=1)
    np.testing.assert_array_equal(np.float32(points["x"]), hostile.i_xt[:, -1, 1])
    np.testing.assert_array_equal(np.float32(points["y"]), hostile.i_ty[:, -1, 1])
    mean = drawn(browser, "mean:1", file=1)
    pointer = ActionChains(browser).w3c_actions
    for shift in (20, 0):
        pointer.pointer_action.move_to_location(round(mean["left"]) + shift, round(mean["top"]) + shift)
    pointer.perform()
    told = until(browser, TOOLTIPS)
    assert SCRIPT in told
    assert f"{mean['x'][0]:.4f} bits" in told
    assert f"{mean['y'][0]:.4f} bits" in told
    assert "mean of 6" in told


@pytest.mark.parametrize("width", [375, 1280])
def test_files_side_by_side_fit_the_window(width: int, trajectory: Trajectory, show: Callable[..., Chrome]) -> None:
    """One of them without what a foreign loop does not give, with long names; one under the other on a phone."""
    nothing: dict[str, Any] = dict.fromkeys(
        ("gradient_mean", "gradient_std", "train_loss", "test_loss", "test_accuracy")
    )
    names = ("a_layer_with_a_name_that_no_phone_has_room_for_in_a_single_line", "h2", "h3", "output")
    other = dataclasses.replace(synthetic_trajectory(names=names).of_epochs(trajectory.epochs[::4]), **nothing)
    browser = show({"one.npz": trajectory, "another_of_a_long_name_" * 4: other}, width=width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('.plane .plot')].map((each) => each.getBoundingClientRect().toJSON())"
    )
    beside = boxes[0]["top"] == pytest.approx(boxes[1]["top"], abs=60) and boxes[0]["right"] <= boxes[1]["left"]
    assert beside == (width > 500)
    assert all(box["right"] <= width and box["width"] > 250 for box in boxes)
    place = 6  # of the slider, whose epochs are those of the first: the nearest of the other is shown
    browser.execute_script(
        "const s = document.getElementById('epoch'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))", place
    )
    epoch = int(trajectory.epochs[place])
    every = trajectory.seeds.tolist()
    for file, run in enumerate((trajectory, other)):
        np.testing.assert_allclose(table(browser, file), means(run, epoch, every), atol=5.1e-5)


def test_light_and_dark(trajectory: Trajectory, show: Callable[..., Chrome]) -> None:
    """The system's choice at first, then the reader's; the plots go with it, and the output is seen on both."""
    script = """
        const host = document.getElementById("plot-0-plane");
        const plot = [...Bokeh.index.roots].find((each) => host.contains(each.el)).model;
        const last = plot.renderers.filter((each) => each.name === "mean").at(-1);
        const page = getComputedStyle(document.body).backgroundColor;
        return [page, plot.background_fill_color, last.glyph.fill_color.value];
    """
    browser = show(trajectory, dark=True)
    dark = browser.execute_script(script)
    assert dark == ["rgb(22, 24, 29)", "#16181d", "#ffffff"]
    browser.find_element("id", "theme").click()
    assert browser.execute_script(script) == ["rgb(255, 255, 255)", "#ffffff", "#000004"]
    browser.find_element("id", "theme").click()
    assert browser.execute_script(script) == dark
