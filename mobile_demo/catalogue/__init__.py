"""Every sentence of the pages, key: (English, Turkish); one module a page, all of them one catalogue.

Turkish suffixes never follow a placeholder: a name's last vowel is not known here.
"""

from __future__ import annotations

from mobile_demo.catalogue import dashboard, phone

CATALOGUE: dict[str, tuple[str, str]] = {**dashboard.TEXTS, **phone.TEXTS}
assert len(CATALOGUE) == len(dashboard.TEXTS) + len(phone.TEXTS), "two pages share a key"
