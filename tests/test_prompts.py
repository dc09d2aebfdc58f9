"""The wording against Table 11 and Figure 3 of the paper, with IDs written as `I3977`."""

from tests.rendered import Item, render

PRODUCTS = "Amazon products"
MASH = Item("I18123", "MASH Rhinestones 2400 Piece 12 Color Nail Art Nailart Manicure Wheels")
AVEENO = Item("I1158", "Aveeno Clear Complexion Daily Moisturizer, 4 Ounce")
BRUSH = Item("I17647", "real Techniques Stippling Brush")
SOAP = Item("I4168", "Sulfur Soap with Lanolin")
LINER = Item("I3977", "L'Oreal Paris HiP Studio Secrets Eyeliner, Brown, 0.159 Ounce")

PURCHASED = (
    "A user has purchased the following Amazon products (arranged in chronological order, from "
    "earliest to most recent): "
)
MASH_TEXT = (
    "Item ID: I18123, Title: MASH Rhinestones 2400 Piece 12 Color Nail Art Nailart Manicure Wheels;"
)
AVEENO_TEXT = "Item ID: I1158, Title: Aveeno Clear Complexion Daily Moisturizer, 4 Ounce;"
BRUSH_TEXT = "Item ID: I17647, Title: real Techniques Stippling Brush;"
LINER_TEXT = "Item ID: I3977, Title: L'Oreal Paris HiP Studio Secrets Eyeliner, Brown, 0.159 Ounce"


def test_retrieval():
    sample = render("retrieval", products=PRODUCTS, history=[MASH, AVEENO], target=LINER)
    assert sample.inputs == (f"{PURCHASED}{MASH_TEXT} {AVEENO_TEXT} What would the user buy next?")
    assert sample.targets == "I3977"


def test_tiger_reads_and_writes_ids_alone():
    sample = render("tiger", products=PRODUCTS, history=[MASH, AVEENO], target=LINER)
    assert (sample.inputs, sample.targets) == ("I18123 I1158", "I3977")


def test_ratings_from_ids_alone():
    sample = render(
        "tiger_rating",
        products=PRODUCTS,
        history=[MASH, AVEENO],
        likes=[True, False],
        target=LINER,
        liked=True,
    )
    assert sample.inputs == "I18123 yes I1158 no I3977"
    assert sample.targets == "yes"


def test_ranking():
    sample = render(
        "ranking",
        products=PRODUCTS,
        history=[MASH],
        target=LINER,
        candidates=["I10537", "I3977", "I8672"],
    )
    assert sample.inputs == (
        f"{PURCHASED}{MASH_TEXT} Which of the following candidate items would you recommend the "
        "user to buy next? Candidate items are: I10537, I3977, I8672."
    )
    assert sample.targets == "I3977"


def test_rating():
    sample = render(
        "rating",
        products=PRODUCTS,
        history=[MASH, BRUSH, AVEENO],
        likes=[True, False, True],
        target=LINER,
        liked=False,
    )
    assert sample.inputs == (
        f"A user likes the following Amazon products: {MASH_TEXT} {AVEENO_TEXT} The user dislikes "
        f"the following Amazon products: {BRUSH_TEXT} Predict whether the user would like the "
        f"following item. Answer yes or no. {LINER_TEXT}"
    )
    assert sample.targets == "no"


def test_rating_without_likes_or_without_dislikes_drops_the_empty_sentence():
    question = (
        "Predict whether the user would like the following item. Answer yes or no. " + LINER_TEXT
    )
    disliked = render("rating", history=[MASH], likes=[False], target=LINER, liked=True)
    assert disliked.inputs == (f"A user dislikes the following products: {MASH_TEXT} {question}")
    assert disliked.targets == "yes"
    liked = render("rating", history=[MASH], likes=[True], target=LINER, liked=True)
    assert liked.inputs == f"A user likes the following products: {MASH_TEXT} {question}"


def test_masked_items():
    sample = render("mim", products=PRODUCTS, history=[MASH, AVEENO, BRUSH], masked=[2, 0])
    assert sample.inputs == (
        f"{PURCHASED}[masked item]; {AVEENO_TEXT} [masked item]; What are the masked items, in "
        "chronological order?"
    )
    assert sample.targets == f"{MASH_TEXT} {BRUSH_TEXT}"


def test_masked_language_shows_the_text_that_spans_are_cut_from():
    assert render("mlm", history=[MASH, AVEENO]).inputs == f"{MASH_TEXT} {AVEENO_TEXT}"


def test_bpr():
    sample = render("bpr", products=PRODUCTS, history=[MASH], choices=[SOAP, LINER], target=LINER)
    assert sample.inputs == (
        f"{PURCHASED}{MASH_TEXT} Which of the following two items would the user buy next? "
        f"Item ID: I4168, Title: Sulfur Soap with Lanolin; {LINER_TEXT};"
    )
    assert sample.targets == f"{LINER_TEXT};"


def test_item_content():
    sample = render("ie", target=Item("I1014", ""), field="brand", value="Nike")
    assert (sample.inputs, sample.targets) == ("What's the brand of I1014?", "Nike")


def test_a_prompt_without_an_answer_has_empty_targets():
    assert render("retrieval", history=[MASH]).targets == ""
