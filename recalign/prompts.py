"""Every wording as format strings (`wording.py`).

The paper's prompts are those of Table 11 (Figure 1 shows the same). Where the paper disagrees with
itself, one reading is taken everywhere:

* Item IDs: Table 11 prints `Item ID: 19762` in histories and `I3977` as target and candidate, so
  that the model could not tell that they name the same thing. It is `I3977` everywhere, as in
  section 3.2 (`I123`).
* An item is `Item ID: I1, Title: …;` with the semicolon in every list (Table 11; section 3.1 ends
  the last one otherwise). The item that a rating prompt asks about ends the prompt without one.
* An MIM prompt says "(arranged in chronological order, …)" and a BPR prompt "two items", as in
  Table 11, not "two products" as in section 3.1.3. The products' noun is a parameter.
* An empty list takes its sentence with it, which the paper does not show: a user without dislikes
  has no "The user dislikes …". The first sentence left speaks of "A user", the next of "The user".
* The rating prompt of Table 11 shows the last five of the nine items of its retrieval prompt;
  section 3.2 gives all recommendation tasks the same window, and so do we.
* The ranking pool in Table 11 has items twice (I3446, I2618); ours has none.
* Item content (Figure 3) asks "What's the brand of I1014?" with a plain apostrophe; categories,
  which it does not show, are asked for in the plural.

P5 (Geng et al., 2022) numbers its templates by family: 1 rating, 2 sequential, 3 explanation,
4 review, 5 direct recommendation. What a template shows and answers is P5's; the words are ours,
since P5's are not the paper's. Whoever has P5's own gives them as a JSON file, `{"2-1": {"inputs":
"…", "targets": "…"}, …}`, in gin `P5_TEMPLATES = 'words.json'`; a template that it lacks keeps
ours. Where P5 leaves room, one reading is taken:

* A user's description is the reviewer's name in P5, else the raw user ID; logs hold no names, so it
  is always the raw ID (`{user_name}`).
* Histories are the IDs of the window's w items with commas between them; P5 shows the whole history
  and at times writes arrows.
* P5 blurs the stars that it trains on (4 becomes 3.9); here they are those of the log.
* "Explanation" and "feature" come from a parser of opinions that P5 ran beforehand; here they are
  a sentence of the review and a word of it (`data/explanations.py`).
"""

from collections.abc import Mapping
from typing import Any

from recalign.wording import Prompt

ITEM = "Item ID: {id}, Title: {title}"
ITEM_END = ";"
SHORTENED_END = ";"  # a word by itself, after a title that was cut between two words to fit
LIST_SEPARATOR = ","
MASKED_ITEM = "[masked item]"
YES_NO = ("no", "yes")  # indexed by the label: 1 = like
LIKE_DISLIKE = ("dislike", "like")
FIELD_QUESTIONS: Mapping[str, str] = {
    "title": "What's the title of",
    "categories": "What are the categories of",
    "brand": "What's the brand of",
    "price": "What's the price of",
    "description": "What's the description of",
}

_PURCHASED = (
    "A user has purchased the following {products} "
    "(arranged in chronological order, from earliest to most recent):"
)

PROMPTS: Mapping[str, Prompt] = {
    "retrieval": Prompt(f"{_PURCHASED} {{history}} What would the user buy next?", "{target}"),
    "ranking": Prompt(
        f"{_PURCHASED} {{history}} Which of the following candidate items would you recommend the "
        "user to buy next? Candidate items are: {candidates}.",
        "{target}",
    ),
    "rating": Prompt(
        (
            "{subject} likes the following {products}: {liked}",
            "{subject} dislikes the following {products}: {disliked}",
            "Predict whether the user would like the following item. Answer yes or no. "
            "{target:item}",
        ),
        "{label}",
    ),
    "mim": Prompt(
        f"{_PURCHASED} {{masked_history}} What are the masked items, in chronological order?",
        "{masked}",
    ),
    # Span corruption works on tokens: this is the text that the spans are cut out of.
    "mlm": Prompt("{history}"),
    "bpr": Prompt(
        f"{_PURCHASED} {{history}} Which of the following two items would the user buy next? "
        "{choices}",
        "{target:items}",
    ),
    "ie": Prompt("{question} {target}?", "{value}"),
    # Not the paper's: TIGER (arXiv 2305.05065) reads a sequence of IDs and writes the next.
    "tiger": Prompt("{history:ids}", "{target}"),
    # Not the paper's: ratings from IDs alone, for a model that has no words to read them in. Each
    # item stands before the answer that the user gave, and the question is one more of them.
    "tiger_rating": Prompt("{answered} {target}", "{label}"),
}

P5_FIELDS: Mapping[str, str] = {
    "user_id": "row:number",  # user_1, user_2, …
    "user_name": "row:name",  # what the user is called in the log
    "item_id": "asked:ids",  # of the item asked about; in targets, of the one to recommend
    "item_title": "asked:title",
    "star_rating": "asked_stars",  # the user's rating of it
    "history": "history:list",  # the IDs of the window, oldest first
    "candidates": "candidates:list",
    "headline": "headline",  # the title of the user's review
    "review": "review",
    "feature": "feature",  # a word of the explanation
    "explanation": "explanation",  # a sentence of the user's review
    "yes_no": "yes_no",  # whether what the question says is so
    "like_dislike": "label:like_dislike",
}
"""P5's names of fields, and ours. A yes-or-no question may ask about another item or other stars
than are so (`asked`, `asked_stars`); targets hold the truth (`target`, `stars`)."""

# What has two numbers calls the user by `{user_id}` in the first, by `{user_name}` in the second.
_P5 = {
    "1-1 1-6": ("How many stars would {item_id} get from {user}?", "{star_rating}"),
    "1-2 1-7": ("{user} is about to review {item_title} . How many stars?", "{star_rating}"),
    "1-3": ("Are {star_rating} stars what {user_id} thinks of {item_id}? Yes or no.", "{yes_no}"),
    "1-4": ("Tell whether {item_id} is to the taste of {user_id}: like or dislike.",
            "{like_dislike}"),
    "1-5": ("Item {item_id} is called {item_title} . Guess the stars it has from {user_id}.",
            "{star_rating}"),
    "1-8": ("Someone called {user_name} tried {item_title} . Are {star_rating} stars the verdict? "
            "Yes or no.", "{yes_no}"),
    "1-9": ("Tell what {user_name} thinks of {item_title} , like or dislike.", "{like_dislike}"),
    "1-10": ("Estimate in stars how content {user_name} is with {item_title} .", "{star_rating}"),
    "2-1 2-4": ("{user} bought, from first to last: {history}. Which item comes next?",
                "{item_id}"),
    "2-2 2-5": ("These are the items in the basket of {user} so far: {history}. Name the one that "
                "should follow.", "{item_id}"),
    "2-3 2-6": ("After {history}, what should {user} be offered?", "{item_id}"),
    "2-7 2-8": ("{user} bought, from first to last: {history}. Which of these comes next? "
                "{candidates}", "{item_id}"),
    "2-9 2-10": ("Knowing that {user} owns {history}, pick the best offer among {candidates}.",
                 "{item_id}"),
    "2-11 2-12": ("{user} bought, from first to last: {history}. Is {item_id} what comes next? Yes "
                  "or no.", "{yes_no}"),
    "2-13": ("Continue the list of items that {user_name} has bought: {history}.", "{item_id}"),
    "3-1 3-4": ("In the words of {user}, what is there to say about {item_title} ?",
                "{explanation}"),
    "3-2": ("{user_id} headed a review of {item_id} with: {headline} . Give a sentence of it.",
            "{explanation}"),
    "3-3": ("{user_id} rated {item_title} with {star_rating} stars. Say why.", "{explanation}"),
    "3-5": ("{user_name} headed a review of {item_title} with: {headline} . Give a sentence of it.",
            "{explanation}"),
    "3-6": ("{user_name} rated {item_id} with {star_rating} stars. Say why.", "{explanation}"),
    "3-7": ("With how many stars, and with which sentence about {feature} , did {user_id} review "
            "{item_id}?", "{star_rating}: {explanation}"),
    "3-8": ("With how many stars, and with which sentence, did {user_name} review {item_id}?",
            "{star_rating}: {explanation}"),
    "3-9 3-10": ("What does {user} say about {feature} where it comes to {item_title} ?",
                 "{explanation}"),
    "3-11 3-12": ("{user} rated {item_id} with {star_rating} stars. Say why, in a sentence with "
                  "the word {feature} .", "{explanation}"),
    "4-1 4-3": ("Find a headline for what {user} wrote: {review}", "{headline}"),
    "4-2 4-4": ("{user} wrote: {review} How many stars go with it?", "{star_rating}"),
    "5-1": ("Might {user_id} buy {item_id}? Yes or no.", "{yes_no}"),
    "5-2": ("Is {item_id} worth showing to {user_name}? Yes or no.", "{yes_no}"),
    "5-3": ("Would {user_name} welcome an offer of {item_title} ? Yes or no.", "{yes_no}"),
    "5-4": ("Does this suit {user_id}, yes or no? {item_title}", "{yes_no}"),
    "5-7 5-5": ("Among {candidates}, which one fits {user} best?", "{item_id}"),
    "5-8 5-6": ("One of these is for {user}: {candidates}. Which?", "{item_id}"),
}  # fmt: skip
_P5_BY_NUMBER = {
    number: (inputs.replace("{user}", user), targets)
    for numbers, (inputs, targets) in _P5.items()
    for number, user in zip(numbers.split(), ("{user_id}", "{user_name}"), strict=False)
}

P5: Mapping[str, tuple[str, str]] = {
    number: _P5_BY_NUMBER[number]
    for number in sorted(_P5_BY_NUMBER, key=lambda number: [int(n) for n in number.split("-")])
}
"""Inputs and targets of each template. Lists, titles and texts stand free, with spaces around; a
list may have punctuation after it, and IDs, names, stars and answers around them."""


def with_verb(prompt: Prompt, done: str, do: str) -> Prompt:
    """A prompt about another deed: "listened to" and "listen to" for "purchased" and "buy"."""

    def reworded(text: str | tuple[str, ...]) -> Any:
        if not isinstance(text, str):
            return tuple(map(reworded, text))
        return text.replace("has purchased", f"has {done}").replace("buy next", f"{do} next")

    return Prompt(reworded(prompt.inputs), reworded(prompt.targets))
