"""Every sentence of the pages, key: (English, Turkish); one module a page, all of them one catalogue.

Turkish suffixes never follow a placeholder: a name's last vowel is not known here.
"""

from __future__ import annotations

from mobile_demo.catalogue import answer, compare, dashboard, devices, model, phone, terms

PAGES = (dashboard, answer, compare, model, devices, terms, phone)
CATALOGUE: dict[str, tuple[str, str]] = {key: texts for page in PAGES for key, texts in page.TEXTS.items()}
assert len(CATALOGUE) == sum(len(page.TEXTS) for page in PAGES), "two pages share a key"
