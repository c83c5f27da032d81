"""`/docs`: the OpenAPI document as a page, made here: it loads nothing, and runs no script."""

import base64
import hashlib
import json
from collections.abc import Iterator
from html import escape
from typing import Any

Json = dict[str, Any]

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "h2{border-top:1px solid #ccc;padding-top:1rem}h2 b{color:#05a}"
    "table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left;"
    "vertical-align:top}pre,code{background:#f4f4f4}pre{padding:.5rem;overflow-x:auto}"
)
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_DIGEST}'; img-src data:;"
    " base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
ICON = '<link rel="icon" href="data:,">'
"""Else a browser asks for one."""


def render(document: Json) -> str:
    """Return the page."""
    about = document["info"]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f"<title>{about['title']}</title>",
        f"{ICON}<style>{STYLE}</style></head><body><h1>{about['title']} {about['version']}</h1>",
        *(f"<p>{escape(one)}</p>" for one in about["description"].strip().split("\n\n")),
        '<p><a href="/openapi.json">openapi.json</a></p>',
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts += _operation(f"<b>{method.upper()}</b> {escape(path)}", operation)
    schemas = document["components"]["schemas"]
    parts += [_schema(name, one) for name, one in schemas.items()]
    return "".join([*parts, "</body></html>"])


def _operation(heading: str, operation: Json) -> Iterator[str]:
    yield f"<h2>{heading}</h2><p>{escape(operation['summary'])}."
    yield f" {escape(operation.get('description', ''))}</p>"
    needs = [scope for one in operation.get("security", ()) for scope in one["bearer"]]
    if needs:
        yield f"<p>Token: <code>{escape(', '.join(needs))}</code></p>"
    if parameters := operation.get("parameters"):
        yield "<table>"
        for one in parameters:
            said = one.get("description") or one["schema"].get("description", "")
            cells = (f"<code>{escape(one['name'])}</code>", escape(one["in"]), escape(said))
            yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        yield "</table>"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body: <code>{escape(kind)}</code></p>{_code(content)}"
    yield "<table>"
    for status, answer in operation["responses"].items():
        yield f"<tr><td>{status}</td><td>{escape(answer['description'])}</td></tr>"
    yield "</table>"


def _schema(name: str, schema: Json) -> str:
    return f'<h2 id="{escape(name)}">{escape(name)}</h2>{_code(schema)}'


def _code(found: Json) -> str:
    return f"<pre>{escape(json.dumps(found, indent=1, ensure_ascii=False))}</pre>"
