"""A dataset, a task and a mixture of one's own, in a module outside the package.

After `recalign prepare movies --format movielens --interactions ratings.csv --items movies.csv`
this file on PYTHONPATH is all that it takes to train on what it registers:
`recalign train --gin_file=gin/own/words.gin --gin.MIXTURE_OR_TASK_MODULE="'movielens'"
--gin.MIXTURE_OR_TASK_NAME="'movie_night'" --gin.MODEL_DIR="'runs/movie_night'"`.
"""

import seqio

import tasks
from recalign.wording import Prompt

tasks.register_dataset("movies", products="movies")
watch = Prompt("Seen so far: {history} What should be seen tonight?", "{target}")
retrieval = seqio.get_mixture_or_task("retrieval_movies")
tasks.register_task(retrieval.replace(name="watch_movies", prompt=watch))
tasks.register_mixture("movie_night", ["watch_movies", "rating_movies", "mim_movies"])
