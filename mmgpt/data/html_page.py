"""Pages of HTML that hold their data."""

from __future__ import annotations

import html
import json
from typing import Any


def fill_page(page: str, title: str, data: Any) -> str:
    """A page with its ``{{title}}``, and as JSON in a script its ``{{data}}``, which no text in it can end.

    Example:
        >>> fill_page('<h1>{{title}}</h1>{{data}}', 'a & b', ['</script>'])
        '<h1>a &amp; b</h1>["\\\\u003c/script>"]'
    """
    text = json.dumps(data, ensure_ascii=False, separators=(',', ':')).replace('<', '\\u003c')
    return page.replace('{{title}}', html.escape(title)).replace('{{data}}', text)
