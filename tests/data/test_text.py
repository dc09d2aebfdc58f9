import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalign.data.text import clean_text, shorten


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("a\n\tb \r c", "a b c"),
        ("Tom &amp;amp; Jerry", "Tom & Jerry"),
        ("12&quot; doll", '12" doll'),
        ("bell\x07\x00 nbsp\u00a0ideographic\u3000", "bell nbsp ideographic"),
        ("zero\u200bwidth \ufeffmark ▁piece", "zero width mark piece"),
        ("broken \ud83d pair", "broken pair"),
        ("whole \ud83d\ude00 pair", "whole 😀 pair"),
        ("Misérables, Les", "Misérables, Les"),
    ],
)
def test_text_becomes_one_line(raw, clean):
    assert clean_text(raw) == clean


@given(st.text(st.characters(exclude_categories=()), max_size=80))
def test_clean_text_stays_clean_and_can_be_written(text):
    clean = clean_text(text)
    clean.encode()
    assert clean == " ".join(clean.split())
    assert not any(ord(character) < 32 for character in clean)


@given(st.text("ab ", max_size=40), st.integers(1, 20))
def test_a_shortened_text_is_a_short_start_of_the_text(text, maximum):
    short = shorten(text, maximum)
    assert len(short) <= max(maximum, 0)
    assert text.startswith(short)


def test_a_text_without_spaces_is_cut_in_the_middle():
    assert shorten("abcdefgh", 3) == "abc"
