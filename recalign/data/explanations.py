"""From review texts to the sentence that explains a rating, and the word that it turns on.

P5 takes both from a parser of opinions (phrases such as "good quality"); this is a plain stand-in
that needs no other tool: the feature is the word of a review that most other reviews have, too,
leaving out the words that nearly all have, and the explanation is the first sentence with it.
"""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from recalign.data.records import UserReviews

SHORTEST_FEATURE = 4
"""Letters of a feature word: shorter ones are mostly grammar."""

COMMON = 0.1
"""A word that more of the reviews have is no feature."""


@dataclasses.dataclass(frozen=True)
class Explanations:
    """What reviews say, those without a feature word left out."""

    places: Int64[np.ndarray, " n"]  # ascending: which of the texts they are of
    sentences: pa.LargeStringArray
    features: pa.LargeStringArray  # in lower case


def reviewed_places(reviews: UserReviews) -> Int64[np.ndarray, " n"]:
    """Where there are a text and, if any review has one, a headline; ascending."""
    written = pc.not_equal(reviews.texts, "").to_numpy(zero_copy_only=False)
    headed = pc.not_equal(reviews.summaries, "").to_numpy(zero_copy_only=False)
    return np.flatnonzero(written & headed if headed.any() else written)


def explained_places(reviews: UserReviews) -> tuple[Int64[np.ndarray, " n"], Explanations]:
    """Those of the reviewed places that have an explanation, and what it is."""
    places = reviewed_places(reviews)
    found = explanations(pc.take(reviews.texts, pa.array(places)))
    return places[found.places], found


def explanations(texts: pa.LargeStringArray) -> Explanations:
    """The explanation and feature of each review that has them.

    Were no word common, ["Nice. Bad quality!", "Good quality", "", "A quality toy. Nice"] would
    give the sentences "Bad quality!", "Good quality" and "A quality toy." with the feature
    "quality", of the texts 0, 1 and 3.
    """
    marked = pc.replace_substring_regex(texts, r"([.!?])\s+", "\\1\n")
    split = pc.split_pattern(marked, "\n")
    sentences = pc.list_flatten(split)
    text_of_sentence = _parents(split)
    words = pc.split_pattern_regex(pc.utf8_lower(sentences), r"[^\p{L}]+")
    sentence_of_word = _parents(words)
    text_of_word = text_of_sentence[sentence_of_word]
    encoded = pc.dictionary_encode(pc.list_flatten(words))
    vocabulary = encoded.dictionary
    word = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    pairs = np.unique(text_of_word * max(1, len(vocabulary)) + word)
    reviews_with = np.bincount(pairs % max(1, len(vocabulary)), minlength=len(vocabulary))
    written = int(pc.sum(pc.not_equal(texts, "")).as_py() or 0)
    long = pc.utf8_length(vocabulary).to_numpy(zero_copy_only=False) >= SHORTEST_FEATURE
    weight = np.where(long & (reviews_with <= max(1.0, COMMON * written)), reviews_with, 0)
    # Of each review the word of the greatest weight, the first of its kind.
    places = np.flatnonzero(weight[word])
    order = places[np.lexsort((places, -weight[word[places]], text_of_word[places]))]
    texts_found, first = np.unique(text_of_word[order], return_index=True)
    chosen = order[first]
    return Explanations(
        texts_found.astype(np.int64),
        pc.take(sentences, pa.array(sentence_of_word[chosen])),
        pc.take(vocabulary, pa.array(word[chosen])),
    )


def _parents(lists: pa.ListArray) -> Int64[np.ndarray, " n"]:
    return pc.list_parent_indices(lists).to_numpy(zero_copy_only=False).astype(np.int64)
