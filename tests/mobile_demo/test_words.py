import ast
import re
import string
from datetime import UTC, datetime
from pathlib import Path

import pytest

import mobile_demo.dashboard
from mobile_demo.catalogue.terms import TERMS
from mobile_demo.words import CATALOGUE, LANGUAGES, Words

ROOM = Path(mobile_demo.dashboard.__file__).parent.parent
SOURCES = [path for path in sorted(ROOM.rglob("*.py")) if path.name != "words.py" and path.parent.name != "catalogue"]
# keyword arguments of Streamlit and Altair calls whose text a reader never sees
UNSEEN = {
    "key",
    "layout",
    "width",
    "height",
    "gap",
    "format",
    "language",
    "bind",
    "horizontal_alignment",
    "on_change",
}
UNSEEN |= {"label_visibility", "vertical_alignment", "orient", "type", "symbolType", "labelExpr"}


def literals(node):
    """The strings written in an expression, those that only reach the catalogue left out."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "words":
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.keyword) and child.arg in UNSEEN):
            yield from literals(child)


def calls(tree, module):
    """The calls `module.….function(…)` of a source."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            root = node.func
            while isinstance(root, ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name) and root.id == module and isinstance(node.func, ast.Attribute):
                yield node


@pytest.mark.parametrize(
    ("number", "english", "turkish"),
    [
        (lambda words: words.percent(0.967), "96.7 %", "%96,7"),
        (lambda words: words.percent(1, 0), "100 %", "%100"),
        (lambda words: words.duration(12_400_000), "12.4 ms", "12,4 ms"),
        (lambda words: words.duration(8_200), "8.2 µs", "8,2 µs"),
        (lambda words: words.duration(6_920_000_000), "6.92 s", "6,92 sn"),
        (lambda words: words.scientific(0.0999), "1.0E-1", "1,0E-1"),
        (lambda words: words.scientific(2.8e-6), "2.8E-6", "2,8E-6"),
        (lambda words: words.size(53_100_000), "53.1 MB", "53,1 MB"),
        (lambda words: words.size(768_300_000), "768 MB", "768 MB"),
        (lambda words: words.size(12), "12 bytes", "12 bayt"),
        (lambda words: words.number(1234.5, 1), "1,234.5", "1.234,5"),
        (lambda words: words.ratio(0.0271), "0.027", "0,027"),
        (lambda words: words.span("1", "2"), "1 to 2", "1–2"),
        (
            lambda words: words.moment(datetime(2026, 11, 3, 9, 5, tzinfo=UTC)),
            "3 November 2026, 09:05 UTC",
            "3 Kasım 2026, 09:05 UTC",
        ),
    ],
)
def test_numbers_and_dates_are_written_as_each_language_writes_them(number, english, turkish):
    plain = str.maketrans({"\xa0": " ", "\u2060": None})
    assert (number(Words("en")).translate(plain), number(Words("tr")).translate(plain)) == (english, turkish)


def test_an_unknown_language_reads_english():
    assert Words("fi").language == "en"


def test_every_key_has_both_languages_with_the_same_values():
    for key, texts in CATALOGUE.items():
        assert len(texts) == len(LANGUAGES), key
        assert all(text.strip() for text in texts), key
        fields = [{field for _, field, _, _ in string.Formatter().parse(text) if field} for text in texts]
        assert fields[0] == fields[1], key


def test_every_key_that_is_asked_for_is_there_and_none_is_unused():
    written, asked, families = set(), set(), set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                written.add(node.value)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "words":
                first = node.args[0]
                asked |= {leaf.value for leaf in ast.walk(first) if isinstance(leaf, ast.Constant)} & set(CATALOGUE)
                if isinstance(first, ast.Constant):
                    assert first.value in CATALOGUE, f"{path.name} asks for {first.value!r}"
            if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                families |= {key for key in CATALOGUE if key.startswith(node.values[0].value)}
    elsewhere = {key for key in CATALOGUE if key.startswith("phone_")}  # asked for in JavaScript: test_phone_words.py
    elsewhere |= {term.key for word, term in TERMS.items() if word in written}
    assert set(CATALOGUE) - written - families - elsewhere == set()


SHORT = re.compile(r"\.?[a-z_()]+(:[NQO])?|width <.*|</div>|log")  # an encoding, a key, a kind
KNOWN = {
    "lokma",
    "lokma doctor",
    "style.css",
    "icon.svg",
    "_page.py",
    "text/csv",
    "application/json",
    "image/png",
    "GIF",
}


def test_the_pages_show_no_text_that_is_not_in_the_catalogue():
    """Commands (`lokma …`) are the same in every language, and Streamlit's own texts are English: the page says so."""
    stray = set()
    for path in sorted((ROOM / "dashboard").glob("*.py")):
        for module in ("st", "alt"):
            for call in calls(ast.parse(path.read_text()), module):
                parts = [part for part in (*call.args, *call.keywords) if getattr(part, "arg", "") not in UNSEEN]
                stray |= {(path.name, text.strip()) for part in parts for text in literals(part)}
    stray = {(name, text) for name, text in stray if re.search(r"[A-Za-zÇĞİÖŞÜçğıöşü]{2,}", text)}
    left = {one for one in stray if not SHORT.fullmatch(one[1]) and one[1] not in KNOWN}
    assert {one for one in left if not one[1].startswith(("lokma ", ":material/", "<div class"))} == set()


def test_every_tooltip_names_the_english_word_and_the_courses_where_it_differs():
    for term in TERMS.values():
        english, turkish = term.texts
        assert english.startswith(term.english)
        assert f"({term.english}" in turkish
        assert ("kursta: " in turkish) == bool(term.course)
    assert "kursta: güç kullanarak öğrenme" in TERMS["episode_return"].texts[1]


@pytest.mark.parametrize("key", sorted(CATALOGUE))
def test_turkish_keeps_to_the_terms_and_the_number_rules(key):
    english, turkish = CATALOGUE[key]
    lowered = turkish.replace("İ", "i").replace("I", "ı").lower()
    for never in ("kesinlik", "kuantizasyon", "artefakt", "benchmark", "bundle", "latency", "inference"):
        assert never not in lowered or key.startswith("term_")  # the glossary names the English word too
    assert not re.search(r"\d %", turkish)  # the sign stands before the number
    assert ("95 %" in english) == ("%95 güven aralığı" in turkish) or key in (
        "trade_note",
        "trade_alt",
        "table_note",
        "interval_95",
        "field_alt",
    )
    assert not re.search(r"\}['’]?[a-zçğıöşü]", turkish), "a suffix after a placeholder needs its last vowel"
    for term, ours in {
        "cold start": "soğuk başlangıç",
        "model file": "model dosya",
        "accuracy": "doğruluğ|doğruluk",
    }.items():
        if term in re.sub(r"{\w+}", "", english).lower():
            assert re.search(ours, lowered), term
