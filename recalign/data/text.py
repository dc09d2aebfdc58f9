"""Text of a catalogue: what a prompt can hold on one line."""

import html
import re

MAXIMUM_TITLE, MAXIMUM_SUMMARY = 1_000, 1_000
MAXIMUM_DESCRIPTION, MAXIMUM_REVIEW = 10_000, 10_000
"""Characters; Amazon's longest honest titles have about 500."""

# Control and format characters, SentencePiece's word mark and the replacement character: each is
# white space to T5's normalisation, so it is white space here too, and tokens of items can be
# joined without changing.
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2581\ufeff\ufffd]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def clean_text(text: str) -> str:
    """Unescapes HTML entities and makes all white space single spaces, none at the ends.

    Control characters and broken surrogates (JSON allows both) count as white space.

    >>> clean_text(" Barbie\\tDoll &amp; House\\n")
    'Barbie Doll & House'
    """
    if "&" in text:
        # Twice: the crawled files hold "&amp;quot;" too.
        text = html.unescape(html.unescape(text))
    if _SURROGATE.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return " ".join(_INVISIBLE.sub(" ", text).split())


def shorten(text: str, maximum: int) -> str:
    """At most `maximum` characters, cut at a space where there is one.

    >>> shorten("a word and another", 12)
    'a word and'
    """
    if len(text) <= maximum:
        return text
    cut = text[: maximum + 1]
    return (cut[: cut.rfind(" ")] if " " in cut[1:] else text[:maximum]).rstrip()


def as_price(value: object) -> str:
    """A price as it is shown: a number becomes dollars, as in the paper's Figure 3.

    >>> as_price(31.8), as_price("£5.00"), as_price(None)
    ('$31.8', '£5.00', '')
    """
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        return f"${value:.10g}"
    return ""
