"""The content security policy: no script from elsewhere, and inline only those that Gradio's page itself was served with.

So a script or an event handler that got into a page with what somebody wrote would still not run. Gradio evaluates its
components' templates, which takes 'unsafe-eval', and sets styles from scripts.
"""

import base64
import hashlib
import re

_INLINE = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.S)
_REST = (
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "form-action 'self'; base-uri 'self'; frame-ancestors 'none'"
)


def policy(page: bytes = b"") -> str:
    """The policy for a page of Gradio, or for anything that is none.

    Parameters
    ----------
    page : bytes
        HTML as it is served; its inline scripts are allowed by their SHA-256.
    """
    inline = {f"'sha256-{base64.b64encode(hashlib.sha256(s).digest()).decode()}'" for s in _INLINE.findall(page)}
    scripts = " ".join(["'self'", *sorted(inline), *(["'unsafe-eval'"] if page else [])])
    return f"default-src 'none'; script-src {scripts}; {_REST}"
