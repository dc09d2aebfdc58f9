"""P5's prompt templates as data: what each shows and answers, and our wording of it.

P5 (Geng et al., 2022) numbers its templates by family: 1 rating, 2 sequential, 3 explanation,
4 review, 5 direct recommendation. Which fields a template shows and what it answers is P5's
(`FIELDS`); the words are ours (`WORDING`), since P5's are not the paper's. Whoever has P5's own
words gives them as a JSON file, `{"2-1": {"inputs": "…", "targets": "…"}, …}`, in gin
`P5_TEMPLATES = 'words.json'`; a template that the file lacks keeps the words below.

Where P5 leaves room, one reading is taken:

* A user's description is the reviewer's name in P5, and the raw user ID where there is none; logs
  hold no names, so it is always the raw ID (`{user_name}`).
* Histories are item IDs of the window's w items with commas between them; P5 shows the whole
  history and at times writes arrows. Items are written as everywhere in this package (`I12`).
* P5 blurs the stars that it trains on (4 becomes 3.9); here they are those of the log.
* "Explanation" and "feature" come from a parser of opinions that P5 ran beforehand; here the
  explanation is a sentence of the review and the feature a word of it (`data/explanations.py`).
"""

from collections.abc import Mapping

FAMILIES: Mapping[str, str] = {
    "p5_rating": "1",
    "p5_sequential": "2",
    "p5_explanation": "3",
    "p5_review": "4",
    "p5_direct": "5",
}
"""The number that a family's templates begin with."""

EVALUATED: Mapping[str, str] = {
    "p5_rating": "1-4",
    "p5_sequential": "2-1",
    "p5_2_7": "2-7",
    "p5_direct": "5-5",
}
"""The template that shows a task's validation and test samples: those of Tables 1 to 3 and 8."""

FIELD_NAMES: Mapping[str, str] = {
    "user_id": "the user's number: user_1, user_2, …",
    "user_name": "what the user is called in the log",
    "item_id": "the ID of the item asked about; in targets, of the item to recommend",
    "item_title": "its title",
    "star_rating": "the user's rating of it",
    "history": "the IDs of the items of the window, oldest first",
    "candidates": "the IDs of the candidate pool",
    "headline": "the title of the user's review",
    "review": "the user's review",
    "feature": "a word of the explanation",
    "explanation": "a sentence of the user's review",
    "yes_no": "yes or no: whether what the question says is so",
    "like_dislike": "like or dislike",
}

FIELDS: Mapping[str, tuple[str, str]] = {
    "1-1": ("user_id item_id", "star_rating"),
    "1-2": ("user_id item_title", "star_rating"),
    "1-3": ("user_id item_id star_rating", "yes_no"),
    "1-4": ("user_id item_id", "like_dislike"),
    "1-5": ("user_id item_id item_title", "star_rating"),
    "1-6": ("user_name item_id", "star_rating"),
    "1-7": ("user_name item_title", "star_rating"),
    "1-8": ("user_name star_rating item_title", "yes_no"),
    "1-9": ("user_name item_title", "like_dislike"),
    "1-10": ("user_name item_title", "star_rating"),
    "2-1": ("user_id history", "item_id"),
    "2-2": ("user_id history", "item_id"),
    "2-3": ("user_id history", "item_id"),
    "2-4": ("user_name history", "item_id"),
    "2-5": ("user_name history", "item_id"),
    "2-6": ("user_name history", "item_id"),
    "2-7": ("user_id history candidates", "item_id"),
    "2-8": ("user_name history candidates", "item_id"),
    "2-9": ("user_id history candidates", "item_id"),
    "2-10": ("user_name history candidates", "item_id"),
    "2-11": ("user_id history item_id", "yes_no"),
    "2-12": ("user_name history item_id", "yes_no"),
    "2-13": ("user_name history", "item_id"),
    "3-1": ("user_id item_title", "explanation"),
    "3-2": ("headline user_id item_id", "explanation"),
    "3-3": ("user_id star_rating item_title", "explanation"),
    "3-4": ("user_name item_title", "explanation"),
    "3-5": ("headline user_name item_title", "explanation"),
    "3-6": ("user_name star_rating item_id", "explanation"),
    "3-7": ("feature user_id item_id", "star_rating explanation"),
    "3-8": ("user_name item_id", "star_rating explanation"),
    "3-9": ("feature user_id item_title", "explanation"),
    "3-10": ("feature user_name item_title", "explanation"),
    "3-11": ("feature star_rating user_id item_id", "explanation"),
    "3-12": ("feature star_rating user_name item_id", "explanation"),
    "4-1": ("user_id review", "headline"),
    "4-2": ("user_id review", "star_rating"),
    "4-3": ("user_name review", "headline"),
    "4-4": ("user_name review", "star_rating"),
    "5-1": ("user_id item_id", "yes_no"),
    "5-2": ("item_id user_name", "yes_no"),
    "5-3": ("user_name item_title", "yes_no"),
    "5-4": ("user_id item_title", "yes_no"),
    "5-5": ("user_name candidates", "item_id"),
    "5-6": ("user_name candidates", "item_id"),
    "5-7": ("user_id candidates", "item_id"),
    "5-8": ("user_id candidates", "item_id"),
}
"""The fields of each template's inputs and targets; words may have them in any order."""

WORDING: Mapping[str, tuple[str, str]] = {
    "1-1": ("How many stars would {item_id} get from {user_id}?", "{star_rating}"),
    "1-2": ("{user_id} is about to review {item_title} . How many stars?", "{star_rating}"),
    "1-3": ("Are {star_rating} stars what {user_id} thinks of {item_id}? Yes or no.", "{yes_no}"),
    "1-4": ("Tell whether {item_id} is to the taste of {user_id}: like or dislike.",
            "{like_dislike}"),
    "1-5": ("Item {item_id} is called {item_title} . Guess the stars it has from {user_id}.",
            "{star_rating}"),
    "1-6": ("How many stars would {item_id} get from {user_name}?", "{star_rating}"),
    "1-7": ("{user_name} is about to review {item_title} . How many stars?", "{star_rating}"),
    "1-8": ("Someone called {user_name} tried {item_title} . Are {star_rating} stars the verdict? "
            "Yes or no.", "{yes_no}"),
    "1-9": ("Tell what {user_name} thinks of {item_title} , like or dislike.", "{like_dislike}"),
    "1-10": ("Estimate in stars how content {user_name} is with {item_title} .", "{star_rating}"),
    "2-1": ("{user_id} bought, from first to last: {history}. Which item comes next?", "{item_id}"),
    "2-2": ("These are the items in the basket of {user_id} so far: {history}. Name the one that "
            "should follow.", "{item_id}"),
    "2-3": ("After {history}, what should {user_id} be offered?", "{item_id}"),
    "2-4": ("{user_name} bought, from first to last: {history}. Which item comes next?",
            "{item_id}"),
    "2-5": ("These are the items in the basket of {user_name} so far: {history}. Name the one that "
            "should follow.", "{item_id}"),
    "2-6": ("After {history}, what should {user_name} be offered?", "{item_id}"),
    "2-7": ("{user_id} bought, from first to last: {history}. Which of these comes next? "
            "{candidates}", "{item_id}"),
    "2-8": ("{user_name} bought, from first to last: {history}. Which of these comes next? "
            "{candidates}", "{item_id}"),
    "2-9": ("Knowing that {user_id} owns {history}, pick the best offer among {candidates}.",
            "{item_id}"),
    "2-10": ("Knowing that {user_name} owns {history}, pick the best offer among {candidates}.",
             "{item_id}"),
    "2-11": ("{user_id} bought, from first to last: {history}. Is {item_id} what comes next? Yes "
             "or no.", "{yes_no}"),
    "2-12": ("{user_name} bought, from first to last: {history}. Is {item_id} what comes next? Yes "
             "or no.", "{yes_no}"),
    "2-13": ("Continue the list of items that {user_name} has bought: {history}.", "{item_id}"),
    "3-1": ("In the words of {user_id}, what is there to say about {item_title} ?",
            "{explanation}"),
    "3-2": ("{user_id} headed a review of {item_id} with: {headline} . Give a sentence of it.",
            "{explanation}"),
    "3-3": ("{user_id} rated {item_title} with {star_rating} stars. Say why.", "{explanation}"),
    "3-4": ("In the words of {user_name}, what is there to say about {item_title} ?",
            "{explanation}"),
    "3-5": ("{user_name} headed a review of {item_title} with: {headline} . Give a sentence of it.",
            "{explanation}"),
    "3-6": ("{user_name} rated {item_id} with {star_rating} stars. Say why.", "{explanation}"),
    "3-7": ("With how many stars, and with which sentence about {feature} , did {user_id} review "
            "{item_id}?", "{star_rating}: {explanation}"),
    "3-8": ("With how many stars, and with which sentence, did {user_name} review {item_id}?",
            "{star_rating}: {explanation}"),
    "3-9": ("What does {user_id} say about {feature} where it comes to {item_title} ?",
            "{explanation}"),
    "3-10": ("What does {user_name} say about {feature} where it comes to {item_title} ?",
             "{explanation}"),
    "3-11": ("{user_id} rated {item_id} with {star_rating} stars. Say why, in a sentence with the "
             "word {feature} .", "{explanation}"),
    "3-12": ("{user_name} rated {item_id} with {star_rating} stars. Say why, in a sentence with "
             "the word {feature} .", "{explanation}"),
    "4-1": ("Find a headline for what {user_id} wrote: {review}", "{headline}"),
    "4-2": ("{user_id} wrote: {review} How many stars go with it?", "{star_rating}"),
    "4-3": ("Find a headline for what {user_name} wrote: {review}", "{headline}"),
    "4-4": ("{user_name} wrote: {review} How many stars go with it?", "{star_rating}"),
    "5-1": ("Might {user_id} buy {item_id}? Yes or no.", "{yes_no}"),
    "5-2": ("Is {item_id} worth showing to {user_name}? Yes or no.", "{yes_no}"),
    "5-3": ("Would {user_name} welcome an offer of {item_title} ? Yes or no.", "{yes_no}"),
    "5-4": ("Does this suit {user_id}, yes or no? {item_title}", "{yes_no}"),
    "5-5": ("Among {candidates}, which one fits {user_name} best?", "{item_id}"),
    "5-6": ("One of these is for {user_name}: {candidates}. Which?", "{item_id}"),
    "5-7": ("Among {candidates}, which one fits {user_id} best?", "{item_id}"),
    "5-8": ("One of these is for {user_id}: {candidates}. Which?", "{item_id}"),
}  # fmt: skip
"""Inputs and targets of each template. Lists, titles and texts stand free, with spaces around; a
list may have punctuation after it, and IDs, names, stars and answers around them."""
