"""Documents as PDF/A-3, set by typst, with EN 16931 data embedded (Factur-X).

Rules a change must keep: pure, the same document gives the same bytes; page and data come from one
`Document`.
"""

import io
import json
import re
from datetime import UTC, datetime, time
from importlib import resources
from typing import Final

import typst

from caas.billing.document import Document
from caas.billing.document_page import page_of
from caas.billing.document_xml import to_xml, writable

PDF_STANDARD: Final = "a-3b"
UNSHOWN: Final = re.compile(
    "[^\x20-\x7e\xa0-\u0377\u0384-\u038a\u038c\u038e-\u03a1\u03a3-\u04ff\u05d0-\u05ea"
    "\u060c\u061b\u061f\u0621-\u063a\u0640-\u0652\u0660-\u0669\u067e\u0686\u06a9\u06af\u06cc"
    "\u1e00-\u1eff\u2010-\u2027\u202f-\u203a\u20a0-\u20bf\u2116\u2122]"
)
"""Characters that the page's fonts lack. PDF/A forbids them, so they are replaced by "?"."""
SCHEMAS: Final = "<pdfaExtension:schemas><rdf:Bag>"
END: Final = "</rdf:RDF>"


def to_pdf(document: Document) -> bytes:
    """Return a document as PDF/A-3, with its data embedded if EN 16931 can represent it."""
    shown = UNSHOWN.sub("?", json.dumps(page_of(document), ensure_ascii=False))
    inputs = {"document": shown}
    data = to_xml(document).decode() if writable(document) else None
    pages = bytes(
        typst.compile(
            _source("document.typ").encode(),
            format="pdf",
            sys_inputs=inputs if data is None else {**inputs, "data": data},
            pdf_standards=PDF_STANDARD,
            ignore_system_fonts=True,
            timestamp=datetime.combine(document.issue_date, time(), UTC),
        )
    )
    return pages if data is None else _named_factur_x(pages)


def _named_factur_x(pages: bytes) -> bytes:
    """Add the Factur-X metadata that describes the embedded file."""
    from pypdf import PdfWriter  # noqa: PLC0415  # slow to import, and few processes make paper
    from pypdf.generic import DecodedStreamObject  # noqa: PLC0415

    writer = PdfWriter(clone_from=io.BytesIO(pages))
    metadata = writer.root_object["/Metadata"].get_object()
    assert isinstance(metadata, DecodedStreamObject), "typst writes metadata as plain text"
    stated = metadata.get_data().decode()
    schema, end = _source("factur_x.xmp").split("<!-- -->\n")
    for place, addition in ((SCHEMAS, SCHEMAS + schema), (END, end + END)):
        assert stated.count(place) == 1, "typst writes one schema list and one end tag"
        stated = stated.replace(place, addition)
    metadata.set_data(stated.encode())
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def _source(name: str) -> str:
    return (resources.files("caas.billing") / name).read_text("utf-8")
