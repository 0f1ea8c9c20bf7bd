"""The one spelling of an identifier, so that a service and an outsider who hash it mean the same bytes."""

import unicodedata


def trimmed(text: str) -> str:
    """Return the text without white space around it, in Unicode's form NFC."""
    return unicodedata.normalize("NFC", text.strip())


def folded(text: str) -> str:
    """Return the text case-folded, in NFC.

    It is decomposed first: case-folding looks at single characters, so both spellings of an accent must look alike.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())
