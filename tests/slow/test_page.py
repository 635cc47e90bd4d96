"""The page in a real browser, over a real server, registry, bundle and (tiny) language model."""

import os
import re
import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from nicegui import Client
from page_backend import PROMPTS, small_survey, write_small_bundle
from page_service import Service

from gpo_ray.errors import ConfigError
from gpo_ray.serving.inference.backend import Overloaded
from gpo_ray.serving.page.mount import PAGE_HEADERS, RECONNECT_SECONDS, mount_page
from gpo_ray.serving.settings import Replicas, ServeSettings

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = os.environ.get("AXE_CORE")  # axe.min.js, from: npm pack axe-core
TALK, SCHOOLS, TRUST = list(PROMPTS)[:3]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, tiny_language_model):
    folder = tmp_path_factory.mktemp("page")
    small_survey().save(folder / "survey")
    return write_small_bundle(folder / "bundle", tiny_language_model, small_survey())


@pytest.fixture
def start(tmp_path, bundle):
    """Start a service; stopped at the end."""
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(
            Service(tmp_path, bundle, **({"survey": bundle.parent / "survey"} | changes)).running()
        )


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser):
    """Open a service's page; at the end nothing may have been logged, nor asked of another host."""
    seen, contexts = [], []

    def watch(page, url):
        own = urlsplit(url).netloc
        page.on("console", lambda m: seen.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: seen.append(str(e)))
        page.on("websocket", lambda w: seen.append(w.url) if urlsplit(w.url).netloc != own else None)
        page.on(
            "request",
            lambda r: seen.append(r.url) if urlsplit(r.url).netloc not in (own, "") else None,
        )

    def open_page(service, width=1000, **options):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(15_000)
        watch(page, service.url)
        page.goto(service.url)
        page.get_by_role("tab", name="Predict").or_(page.get_by_label("API key")).wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert seen == []


def register(page, group_id, choice="Often", shares=(70, 30)):
    page.get_by_role("tab", name="Register a group").click()
    page.get_by_label("Group id").fill(group_id)
    page.get_by_role("group", name=TALK).get_by_role("radio", name=choice).click()
    schools = page.get_by_role("group", name=SCHOOLS)
    if not schools.get_by_role("checkbox").is_checked():
        schools.get_by_role("checkbox").click()
    for response, share in zip(PROMPTS[SCHOOLS], shares, strict=True):
        schools.get_by_role("spinbutton", name=response).fill(str(share))
    page.get_by_role("button", name="Register group").click()


def choose(page, label, option):
    """Pick from the list of the section on view."""
    field = page.get_by_role("combobox", name=label).locator("visible=true")
    field.fill(option)
    page.get_by_role("option", name=option).click()


def add_question(page, prompt, responses):
    page.get_by_label("Your question").locator("visible=true").fill(prompt)
    page.get_by_label("Its responses").locator("visible=true").fill("\n".join(responses))
    page.get_by_role("button", name="Add question").locator("visible=true").click()
    page.get_by_text("Question added.").locator("visible=true").wait_for()


def problem(page):
    found = page.get_by_role("alert").filter(has_text=re.compile(".")).locator("visible=true")
    found.wait_for()
    return found.inner_text()


def rows(page, prompt):
    """Texts beside the bars of a question: response, then label and number of each bar."""
    section = page.locator("section").filter(has=page.get_by_role("heading", name=prompt))
    return [" ".join(text.split()) for text in section.locator("dt, dd").all_inner_texts()]


def test_register_predict_compare_and_rank(start, visit):
    service = start()
    page = visit(service)
    register(page, "town-7")
    page.get_by_text("Group town-7 is registered.").wait_for()
    stored = service.registry.get("public", "town-7")
    assert [(a.prompt, a.choice, a.share) for a in stored.context] == [
        (TALK, 0, None),
        (SCHOOLS, None, (0.7, 0.3)),
    ]
    register(page, "other", "Never", (5, 95))
    page.get_by_text("Group other is registered.").wait_for()

    page.get_by_role("tab", name="Predict").click()
    choose(page, "Group", "town-7")
    page.get_by_role("button", name="Predict").click()
    page.get_by_text("3 questions predicted for town-7.").wait_for()
    texts = rows(page, SCHOOLS)
    assert texts[0] == "Yes"
    assert re.fullmatch(r"town-7, predicted \d+% \(\d+–\d+\)", texts[1])
    assert texts[2] == "town-7, real 70%"  # what it was registered with, not what the survey says
    assert re.fullmatch(r"Language model alone \d+%", texts[3])
    survey = small_survey()
    real = [
        f"{p['share'][0]:.0%}"
        for p in survey.preferences.to_pylist()
        if (p["group_id"], p["question_id"]) == ("town-7", "q2")
    ]
    assert rows(page, TRUST)[2] == f"town-7, real {real[0]}"
    width = page.locator(".gpo-real").locator("visible=true").nth(1).evaluate("e => e.style.width")
    assert width.endswith("%")

    choose(page, "Compare with", "other")
    page.get_by_role("button", name="Predict").click()
    page.get_by_text("3 questions predicted for town-7 and other.").wait_for()
    labels = [t.rsplit(" ", 1)[0] for t in rows(page, SCHOOLS)[1:6]]
    assert [t.split(" ")[0] for t in labels] == ["town-7,", "town-7,", "other,", "other,", "Language"]

    page.get_by_role("tab", name="Rank").click()
    choose(page, "Group", "town-7")
    page.get_by_label("Question", exact=True).fill("What shall we build?")
    page.get_by_label("Responses, one").fill("A school\nA road\nNothing")
    page.get_by_role("button", name="Rank").click()
    page.get_by_text("3 responses ranked for town-7.").wait_for()
    shares = [int(re.search(r"(\d+)%", t)[1]) for t in page.locator("ol li").all_inner_texts()]
    assert shares == sorted(shares, reverse=True)
    assert abs(sum(shares) - 100) <= 2


def test_without_a_survey_questions_are_typed(start, visit):
    page = visit(start(survey=None))
    page.get_by_role("tab", name="Register a group").click()
    page.get_by_label("Group id").fill("north-us")
    add_question(page, "Tea & <i>coffee</i>?", ["Tea", "Coffee"])
    page.get_by_role("radio", name="Coffee").click()
    page.get_by_role("button", name="Register group").click()
    page.get_by_text("Group north-us is registered.").wait_for()
    page.get_by_role("tab", name="Predict").click()
    add_question(page, "Tea & <i>coffee</i>?", ["Tea", "Coffee"])
    page.get_by_role("button", name="Predict").click()
    page.get_by_text("1 question predicted").wait_for()
    assert rows(page, "Tea & <i>coffee</i>?")[6] == "north-us, real 100%"


@pytest.mark.minutes
def test_a_page_that_was_left_is_forgotten(start, visit):
    service = start(survey=None)
    before = set(Client.instances)
    page = visit(service)
    assert set(Client.instances) - before
    page.context.close()
    deadline = time.monotonic() + RECONNECT_SECONDS + 30
    while set(Client.instances) - before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not set(Client.instances) - before


def test_mistakes_are_explained(start, visit, caplog):
    service = start()
    page = visit(service)
    page.get_by_role("button", name="Predict").click()
    assert problem(page) == "Choose a group."
    register(page, "us", shares=(70, 20))
    assert problem(page) == f"The shares of “{SCHOOLS}” must be at least 0 and sum to 100, not 90."
    register(page, "us")
    page.get_by_text("Group us is registered.").wait_for()
    register(page, "us", "Never")
    assert "exists already" in problem(page)
    page.get_by_role("checkbox", name="Replace the group").click()
    register(page, "us", "Never")
    page.get_by_text("Group us is registered.").wait_for()
    assert service.registry.get("public", "us").context[0].choice == 2

    page.get_by_role("tab", name="Predict").click()
    for fault, said in (
        (Overloaded("queue"), "The service is busy. Try again in a moment."),
        (RuntimeError("inner workings"), "Something went wrong in the service; its log says what."),
    ):
        service.backend.fault = fault
        page.get_by_role("button", name="Predict").click()
        page.get_by_text(said).wait_for()
        assert problem(page) == said
    service.backend.fault = None
    service.registry.delete("public", "us")
    page.get_by_role("button", name="Predict").click()
    page.get_by_text("not registered").wait_for()
    assert "'us'" in problem(page)


def test_requests_are_limited(start, visit):
    page = visit(start(limits={"requests_per_minute": 1}))
    page.get_by_role("button", name="Predict").click()
    assert problem(page) == "The service is busy. Try again in a moment."


def test_a_key_opens_its_tenants_groups(start, visit, caplog):
    service = start(require_keys=True)
    reader, read_secret = service.keys.create("reads", "tenant-a", ["read"])
    _, secret = service.keys.create("writes", "tenant-a", ["write"])
    _, foreign = service.keys.create("elsewhere", "tenant-b", ["write"])

    def sign_in(page, key):
        page.get_by_label("API key").fill(key)
        page.get_by_label("API key").press("Enter")

    page = visit(service)
    assert not page.get_by_role("tab").count()
    sign_in(page, secret[:-1] + ("x" if secret[-1] != "x" else "y"))
    assert problem(page) == "The API key is not known."
    assert page.get_by_label("API key").input_value() == ""
    sign_in(page, secret)
    register(page, "ours")
    page.get_by_text("Group ours is registered.").wait_for()
    assert [g.group_id for g in service.registry.list("tenant-a")] == ["ours"]
    assert page.context.cookies() == []
    kept = page.evaluate("JSON.stringify([localStorage, sessionStorage, location.href, document.cookie])")
    assert secret not in kept
    assert secret not in page.content()
    page.reload()
    page.get_by_label("API key").wait_for()

    other = visit(service)
    sign_in(other, foreign)
    other.get_by_role("combobox", name="Group").click()
    assert not other.get_by_role("option", name="ours").count()

    sign_in(page, read_secret)
    register(page, "theirs")
    assert problem(page) == "The API key may not write."
    service.keys.revoke(reader.key_id)
    page.get_by_role("tab", name="Predict").click()
    choose(page, "Group", "ours")
    page.get_by_role("button", name="Predict").click()
    assert problem(page) == "The API key is not known."
    assert secret not in caplog.text


def focus_by_tab(page, selector, limit=60):
    """Press Tab until the focus is on it; each stop must be seen."""
    for _ in range(limit):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            continue
        seen = page.evaluate(
            "(() => { for (let e = document.activeElement; e; e = e.parentElement) {"
            "const s = getComputedStyle(e); if (s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2)"
            "return true } return false })()"
        )
        assert seen, page.evaluate("document.activeElement.outerHTML")[:300]
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"no way to {selector} by keyboard")


def test_registering_needs_only_a_keyboard(start, visit):
    service = start()
    page = visit(service)
    focus_by_tab(page, "[role=tab]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Register a group").wait_for()
    focus_by_tab(page, "[aria-label='Group id']")
    page.keyboard.type("by-keys")
    focus_by_tab(page, "[role=radio][aria-label='Often']")
    page.keyboard.press("Space")
    focus_by_tab(page, ".gpo-button:not(.gpo-own *)")
    page.keyboard.press("Enter")
    page.get_by_text("Group by-keys is registered.").wait_for()
    assert service.registry.get("public", "by-keys").context[0].choice == 0


CONTRASTS = """() => {
  const parse = c => { const m = c.match(/[\\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m };
  const over = (t, b) => [0, 1, 2].map(i => t[i] * t[3] + b[i] * (1 - t[3]));
  const background = e => {
    if (!e) return matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18] : [255, 255, 255];
    const c = parse(getComputedStyle(e).backgroundColor);
    return c[3] === 1 ? c.slice(0, 3) : over(c, background(e.parentElement));
  };
  const light = c => { const [r, g, b] = c.map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b };
  const low = [];
  for (const e of document.querySelectorAll('body *')) {
    const text = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!text || !e.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
    if (['STYLE', 'SCRIPT'].includes(e.tagName) || e.closest('[aria-hidden=true]')) continue;
    const b = background(e), [x, y] = [light(over(parse(getComputedStyle(e).color), b)), light(b)];
    const ratio = (Math.max(x, y) + .05) / (Math.min(x, y) + .05);
    if (ratio < 4.5) low.push([e.outerHTML.slice(0, 200), ratio]);
  }
  return low;
}"""
UNLABELLED = """() => [...document.querySelectorAll('input, textarea, select, [role=radio], [role=checkbox]')]
  .filter(e => e.checkVisibility() && !e.closest('[aria-hidden=true]') && e.tabIndex >= 0)
  .filter(e => !(e.labels?.length || e.ariaLabel || (e.closest('label') || e).innerText?.trim()))
  .map(e => e.outerHTML)"""


@pytest.mark.parametrize(("width", "scheme"), [(1000, "light"), (1000, "dark"), (360, "light")])
def test_everybody_can_use_it(start, visit, width, scheme):
    page = visit(start(), width, color_scheme=scheme, reduced_motion="reduce", bypass_csp=AXE is not None)
    assert page.evaluate("document.documentElement.lang") == "en-US"
    register(page, "a-group-with-a-rather-long-name-and-no-place-to-break-it")
    page.get_by_text("is registered.").wait_for()
    page.get_by_role("tab", name="Predict").click()
    page.get_by_role("button", name="Predict").click()
    page.get_by_text("3 questions predicted").wait_for()
    assert page.get_by_role("main").count() == page.get_by_role("heading", level=1).count() == 1
    for name in ("Predict", "Rank", "Register a group"):
        page.get_by_role("tab", name=name).click()
        page.get_by_role("heading", level=2).locator("visible=true").wait_for()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(UNLABELLED) == []
        assert page.evaluate(CONTRASTS) == []
        if AXE:
            page.evaluate(Path(AXE).read_text())
            found = page.evaluate(
                "axe.run().then(r => r.violations.map(v => [v.id, v.nodes.map(n => n.html)]))"
            )
            assert found == []


def test_headers_and_other_paths(start):
    service = start()
    answer = httpx.get(service.url)
    assert {name: answer.headers[name] for name in PAGE_HEADERS} == PAGE_HEADERS
    assert "set-cookie" not in answer.headers
    assert httpx.get(service.url + "v1/own").json() == "own"
    missing = httpx.get(service.url + "nothing")
    assert (missing.status_code, missing.json()) == (404, {"detail": "Not Found"})
    assert "content-security-policy" not in missing.headers


def test_settings_that_cannot_work(tmp_path, bundle):
    with pytest.raises(ConfigError, match="needs ingress"):
        Service(tmp_path, bundle, None, ingress=Replicas(max=2))
    with pytest.raises(ConfigError, match="no keys"):
        mount_page(FastAPI(), ServeSettings(bundle=str(bundle)), None, None, None)
