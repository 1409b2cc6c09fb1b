"""Operates the status page in Chromium, through Playwright.

Usage: browser.py URL SCENE [ARGUMENT...]. Prints what was seen, one fact a line; fails with a message.
"""

import sys

from playwright.sync_api import expect, sync_playwright

URL, SCENE, *ARGUMENTS = sys.argv[1:]
PATIENCE_MS = 20_000
DESKTOP = {"width": 1400, "height": 1000}
PHONE = {"width": 390, "height": 844}

# The contrast of each text with what is behind it (WCAG 2.2, success criterion 1.4.3).
CONTRAST = """() => {
  const parse = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const luminance = ([r, g, b]) => {
    const linear = [r, g, b].map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let texts = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest('script,dialog:not([open])')) continue;
    texts += 1;
    const [a, b] = [parse(getComputedStyle(element).color), behind(element)].map(luminance);
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) poor.push(`${walker.currentNode.data.trim()}: ${contrast.toFixed(2)}`);
  }
  return { texts, poor };
}"""


def fail(message):
    sys.exit(message)


def open_page(browser, **options):
    """Opens the page; fails on errors of scripts and on requests to another host."""
    context = browser.new_context(ignore_https_errors=True, **options)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda error: fail(f"a script failed: {error}"))
    page.on("console", lambda message: message.type == "error" and "401" not in message.text
            and "409" not in message.text and "ERR_" not in message.text and fail(f"the console shows: {message.text}"))
    page.on("request", lambda request: request.url.startswith((URL, "data:")) or fail(f"asked {request.url}"))
    page.goto(URL)
    expect(page.locator("#live")).to_have_text("● live", timeout=PATIENCE_MS)
    return page


def look(browser):
    """Looks at the page on a desktop and a phone, light and dark."""
    folder = ARGUMENTS[0]
    for name, viewport in (("desktop", DESKTOP), ("phone", PHONE)):
        for scheme in ("light", "dark"):
            page = open_page(browser, viewport=viewport, color_scheme=scheme)
            page.locator("h2#services").wait_for()
            wide = page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
            if wide > 0:
                fail(f"{name}: the page is {wide} pixels wider than the screen")
            seen = page.evaluate(CONTRAST)
            if seen["poor"]:
                fail(f"{name}, {scheme}: too little contrast: {seen['poor']}")
            unnamed = page.locator("button:not([aria-label]):not(dialog button), svg:not([aria-label])").count()
            if unnamed:
                fail(f"{name}: {unnamed} buttons or graphs have no name")
            for title in page.locator("h2").all_inner_texts():
                if title != "Operator token" and not page.get_by_role("heading", name=title, exact=True).count():
                    fail(f"{name}: the heading {title} is hidden")
            tables = page.get_by_role("table").count()
            rows = page.get_by_role("row").count()
            page.screenshot(path=f"{folder}/{name}-{scheme}.png", full_page=True)
            print(f"{name} {scheme}: {seen['texts']} texts, {tables} tables, {rows} rows")


def drain(browser):
    """Drains a backend with the keyboard, first with a wrong token, and makes it ready again."""
    backend, token = ARGUMENTS
    page = open_page(browser, viewport=DESKTOP)
    button = page.get_by_role("button", name=f"Drain {backend}")
    button.focus()
    page.keyboard.press("Enter")
    page.get_by_label("tab keeps it").fill("wrong-token-0123456789")
    page.keyboard.press("Enter")
    expect(page.locator("#message")).to_contain_text("missing or wrong", timeout=PATIENCE_MS)
    button.focus()
    page.keyboard.press("Enter")
    page.get_by_label("tab keeps it").fill(token)
    page.keyboard.press("Enter")
    ready = page.get_by_role("button", name=f"Ready {backend}")
    ready.wait_for()
    print(page.locator("#message").inner_text())
    # The token is asked for once in a tab.
    ready.click()
    page.get_by_role("button", name=f"Drain {backend}").wait_for()
    print(page.locator("#message").inner_text())


def with_certificate(certificate, key):
    """Returns the options of a browser that has an operator's certificate."""
    return {"client_certificates": [{"origin": URL.rstrip("/"), "certPath": certificate, "keyPath": key}]}


def drain_with_certificate(browser):
    """Drains a backend and makes it ready again. The page asks for no token."""
    backend, certificate, key = ARGUMENTS
    page = open_page(browser, viewport=DESKTOP, **with_certificate(certificate, key))
    for order, next_order in (("Drain", "Ready"), ("Ready", "Drain")):
        page.get_by_role("button", name=f"{order} {backend}").click()
        # The buttons come with the next update of the page.
        page.get_by_role("button", name=f"{next_order} {backend}").wait_for()
        expect(page.locator("#message")).not_to_be_empty(timeout=PATIENCE_MS)
        print(page.locator("#message").inner_text())
    if page.locator("dialog").count():
        fail("the page has the dialog for the token")


def forge(browser):
    """Orders from a page of another site, in a browser that has an operator's certificate."""
    order, certificate, key = ARGUMENTS
    context = browser.new_context(ignore_https_errors=True, **with_certificate(certificate, key))
    page = context.new_page()
    other = "https://127.0.0.1:9999/"
    page.route(other, lambda route: route.fulfill(content_type="text/html", body="<h1>another site</h1>"))
    page.goto(other)
    with page.expect_response(URL + "api/v1/command") as answer:
        page.evaluate("""([url, body]) => fetch(url, {
          method: 'POST', mode: 'no-cors', credentials: 'include', body,
        }).catch(() => {})""", [URL + "api/v1/command", order])
    print(answer.value.status)


def follow(browser):
    """Waits until a text appears without a reload, and keeps the focus meanwhile."""
    text = ARGUMENTS[0]
    page = open_page(browser, viewport=DESKTOP)
    page.evaluate("window.loaded = 1; document.querySelector('footer a').focus()")
    print("following", flush=True)
    page.get_by_text(text).first.wait_for()
    if page.evaluate("window.loaded") != 1:
        fail("the page was loaded again")
    if page.evaluate("document.activeElement.tagName") != "A":
        fail("the focus was lost")
    print(f"saw {text}")


def failover(browser):
    """Takes pictures while the role moves away, until this host is the standby."""
    folder, token = ARGUMENTS
    page = open_page(browser, viewport=DESKTOP)
    page.evaluate(f"sessionStorage.setItem('token', '{token}')")
    page.on("dialog", lambda dialog: dialog.accept())
    message = page.locator("#message")
    # The browser takes the whole machine while it starts, so the peer may not be ready yet.
    for _ in range(10):
        page.get_by_role("button", name="Hand over to lb-b").click()
        expect(message).not_to_be_empty(timeout=PATIENCE_MS)
        if "handed over" in message.inner_text():
            break
        page.wait_for_timeout(1000)
    print(message.inner_text())
    for picture in range(6):
        page.screenshot(path=f"{folder}/failover-{picture}.png", full_page=True)
        page.wait_for_timeout(400)
    page.locator("section[aria-labelledby=pair] td:text-is('backup')").wait_for()
    page.wait_for_timeout(1500)
    page.screenshot(path=f"{folder}/failover-done.png", full_page=True)
    print(page.locator("section[aria-labelledby=pair] tbody tr").first.inner_text())


def scripts_off(browser):
    """The page is complete without scripts."""
    context = browser.new_context(java_script_enabled=False, ignore_https_errors=True)
    page = context.new_page()
    page.goto(URL)
    print(", ".join(page.locator("h2").all_inner_texts()))


with sync_playwright() as playwright:
    chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
    globals()[SCENE](chromium)
    chromium.close()
