"""HTTP to addresses of our own: never by a proxy that the environment names for the world outside.

`HTTP_PROXY`, `http_proxy` and `ALL_PROXY` are often set for a whole machine, and a proxy neither
reaches our services nor is to see the management page's password.
"""

import urllib.request
from urllib.response import addinfourl

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(request: str | urllib.request.Request, *, timeout_s: float) -> addinfourl:
    """Open a URL; the caller closes the answer. Raises what `urllib.request.urlopen` does."""
    answer: addinfourl = _direct.open(request, timeout=timeout_s)
    return answer
