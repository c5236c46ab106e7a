"""What is given to be translated: bytes, letters and lines, before any model is asked."""

import io

import pytest

from Experiments import translate
from Utils.errors import UserError


@pytest.fixture
def given(monkeypatch):
    """given(content): the sentences of these bytes on standard input."""

    def read(content: bytes) -> list[str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii"))
        return translate._given()

    return read


@pytest.mark.parametrize(
    ("content", "sentences"),
    [
        (b"Ein Hund.\n\n Zwei \r\n", ["Ein Hund.", "", "Zwei"]),
        (b"\xef\xbb\xbfEin Hund.\n", ["Ein Hund."]),  # a byte order mark
        ("Zwei Ma\u0308nner".encode(), ["Zwei M\u00e4nner"]),  # composed, as in the corpora
        (b"", []),
    ],
)
def test_lines_of_standard_input_are_utf8_whatever_the_locale(given, content, sentences):
    assert given(content) == sentences


def test_bytes_that_are_not_utf8_are_named_with_their_line(given):
    with pytest.raises(UserError, match=r"^standard input:2: byte 0xe4 is not UTF-8; save it as UTF-8$"):
        given(b"Ein Hund\nZwei M\xe4nner\n")


def test_a_sentence_is_one_line():
    assert translate._sentence(" Ma\u0308nner\n") == "M\u00e4nner"
    for text in ("Ein Hund\nZwei", "Ein Hund\r\nZwei"):
        with pytest.raises(UserError, match=r"^--text 'Ein Hund'\.\.\.: more than one line"):
            translate._sentence(text)
