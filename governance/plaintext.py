"""Whether bytes are the plain text that a document must be, or another program's file.

For: document.py, before anything is read. Not for: which characters the text may have (characters.py).

    first_byte_fault(data) -> None, or what is wrong and at which byte
"""

from __future__ import annotations

import re

from .characters import Fault

_NOT_UTF8 = "NOT_UTF8"
_SAVE_AS_UTF8 = "open it in an editor and save it again with the encoding UTF-8"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# How files begin that people have renamed, or saved from another program.
_OTHER_KINDS = (
    (rb"PK\x03\x04", "a Word, Excel or other packed document"),
    (rb"\xd0\xcf\x11\xe0", "an old Word or Excel document"),
    (rb"%PDF-", "a PDF"),
    (rb"\{\\rtf", "a document in Rich Text Format"),
    (rb"\s*<(!doctype|html|\?xml|!--)", "a web page or XML"),
)
_LOOKED_AT = 80  # bytes; every mark above stands at the beginning


def first_byte_fault(data: bytes) -> Fault | None:
    """What keeps ``data`` from being UTF-8 text; the index counts bytes up to which it is."""
    for beginning, what in _OTHER_KINDS:
        if re.match(beginning, data[:_LOOKED_AT], re.IGNORECASE):
            sentence = f"the file is {what}, whatever its name says, and not plain text"
            return Fault("NOT_PLAIN_TEXT", sentence, "copy its text into a plain-text editor and save that as UTF-8", 0)
    if data.startswith(_UTF_16_MARKS):
        return Fault(_NOT_UTF8, "the file is saved as UTF-16 (Windows calls it Unicode)", _SAVE_AS_UTF8, 0)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        sentence = "from here on the file is not UTF-8 text; it may be Shift_JIS or another encoding"
        return Fault(_NOT_UTF8, sentence, _SAVE_AS_UTF8, error.start)
    return None
