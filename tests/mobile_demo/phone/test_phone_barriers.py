"""The phone page is open to everybody: it fits, every control has a name, and axe-core finds no barrier."""

import pytest

from edge_runtime import examples


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (390, "dark"), (1440, "light")])
@pytest.mark.parametrize("bundle", ["digits", "cartpole"])
def test_the_page_fits_its_width_and_every_control_has_a_name(as_phone, url, chromium, width, scheme, bundle):
    context = chromium.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, locale="tr-TR")
    try:
        page = as_phone(context.new_page())
        page.ready(f"{url}?bundle={bundle}")
        for summary in page.locator("summary").all():
            summary.click()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        nameless = page.evaluate(
            """() => [...document.querySelectorAll('button, input, select, a, canvas')]
                .filter(one => one.checkVisibility() && !one.ariaLabel && !one.labels?.length && !one.innerText.trim())
                .map(one => one.outerHTML.slice(0, 80))"""
        )
        assert nameless == []
    finally:
        context.close()


def start(phone):
    pass


def answer(phone):
    phone.photo("seven.png", examples.path("seven.png").read_bytes())
    phone.locator("#answer:not([hidden])").wait_for()


def which_label(phone):
    phone.locator("#no").click()
    phone.locator("#actual").wait_for()


def thanks(phone):
    phone.locator("#tell").click()
    phone.locator("#thanks:not(:empty)").wait_for()


def all_opened(phone):
    for summary in phone.locator("summary").all():
        summary.click()


def checked(phone):
    phone.locator("#check").click()
    phone.locator("#findings li[data-finding]").nth(1).wait_for()


def measured(phone):
    phone.locator("#phone").fill("Redmi Note 12")
    phone.locator("#start").click()
    phone.locator("#speed-note:not(:empty)").wait_for()


def refused(phone):
    phone.photo("notes.jpg", b"not a picture", "image/jpeg")
    phone.error()


def played(phone):
    phone.locator("#play").click()
    phone.locator("#answer:not([hidden])").wait_for()


def asked(phone):
    phone.locator("#numbers button").click()
    phone.locator("#answer:not([hidden])").wait_for()


def checked_one(phone):
    phone.locator("#check").click()
    phone.locator("#findings li[data-finding]").wait_for()


PICTURES = (start, answer, which_label, thanks, all_opened, checked, measured, refused)
WALKS = {  # the bundle, and what is done one after another; None is the form's
    "digits": PICTURES,
    "cartpole": (start, all_opened, played),
    None: (start, all_opened, asked, checked_one),
}


@pytest.mark.parametrize(("scheme", "locale"), [("light", "tr-TR"), ("dark", "en-US")])
@pytest.mark.parametrize("bundle", WALKS)
def test_axe_core_finds_no_barrier_in_any_state(as_phone, barriers, url, table_url, chromium, bundle, scheme, locale):
    context = chromium.new_context(
        viewport={"width": 390, "height": 844}, color_scheme=scheme, locale=locale, reduced_motion="reduce"
    )
    try:
        phone = as_phone(context.new_page())
        phone.ready(f"{url}?bundle={bundle}" if bundle else table_url)
        found = {}
        for state in WALKS[bundle]:
            state(phone)
            found[state.__name__] = barriers(phone.page)
        assert found == {state.__name__: [] for state in WALKS[bundle]}
    finally:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_core_finds_no_barrier_while_a_large_file_waits_and_where_the_page_cannot_start(
    as_phone, barriers, url, chromium, scheme
):
    context = chromium.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    try:
        phone = as_phone(context.new_page())
        phone.route("**/site.json", lambda route: route.fulfill(json={**route.fetch().json(), "ask_above_bytes": 1000}))
        phone.goto(url)
        phone.locator("#load").wait_for()
        assert barriers(phone.page) == []
        phone.goto(f"{url}?bundle=lunch")
        phone.error()
        assert barriers(phone.page) == []
    finally:
        context.close()
