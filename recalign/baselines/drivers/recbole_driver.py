"""Trains a model of RecBole and answers a question with it.

    python recbole_driver.py FOLDER

Runs in RecBole's environment. The split goes in as RecBole's "benchmark files", already split, so
that RecBole splits and samples nothing that is evaluated. Working files go into FOLDER.
"""

from __future__ import annotations

import functools
import logging
import os
import pathlib
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import recbole
import torch
from exchange import Answer, Question, answer_items
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.utils import ModelType, get_model, get_trainer, init_seed

# Since 2.6 torch refuses to unpickle what is not a tensor, which RecBole's checkpoints hold. They
# are this run's own.
torch.load = functools.partial(torch.load, weights_only=False)

_NAME = "split"


def main(folder: pathlib.Path) -> None:
    """Question in, answer out."""
    question = Question.read(folder)
    os.chdir(folder)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    sys.argv = sys.argv[:1]  # RecBole would read settings from the command line.
    settings = _settings(question)
    sequential = Config(question.model, _NAME, config_dict=settings)["MODEL_TYPE"] == (
        ModelType.SEQUENTIAL
    )
    if sequential:
        settings["alias_of_item_id"] = ["item_id_list"]
    _write_split(question, sequential, pathlib.Path("dataset", _NAME))
    if question.settings.get("pretrain_epochs"):
        settings["pre_model_path"] = _pretrain(question, settings)
        settings["train_stage"] = "finetune"
    dataset, loaders, model, trainer = _trainer(question.model, settings)
    trainer.fit(loaders[0], loaders[1], show_progress=False)
    own = trainer.evaluate(loaders[2], load_best_model=True, show_progress=False)
    about: dict[str, Any] = {
        "version": recbole.__version__,
        "epochs": len(trainer.train_loss_dict) - trainer.cur_step,
    }
    if not question.rates:  # It was not told the labels of the test pairs.
        about["library_metrics"] = {name: float(value) for name, value in own.items()}
    if sequential:
        about["history_length"] = question.history_length
    model.eval()
    with torch.no_grad():
        if question.rates:
            answer = _rate(question, model, dataset, about)
        else:
            answer = _rank(question, model, dataset, sequential, about)
    answer.write(pathlib.Path())


def _settings(question: Question) -> dict[str, Any]:
    """The library's settings: those of the question over what every model shares."""
    inter = ["user_id", "item_id", "item_id_list", "label"]
    shared: dict[str, Any] = {
        "data_path": "dataset",
        "checkpoint_dir": "saved",
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": inter, "item": ["item_id", "class"]},
        "seed": question.seed,
        "epochs": question.epochs,
        "MAX_ITEM_LIST_LENGTH": question.history_length,
        "show_progress": False,
    }
    if question.rates:
        shared |= {
            "eval_args": {"split": {"RS": [8, 1, 1]}, "group_by": None, "order": "RO",
                          "mode": "labeled"},
            "train_neg_sample_args": None,
            "metrics": ["AUC"],
            "valid_metric": "AUC",
        }  # fmt: skip
    else:
        shared |= {
            "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
            "metrics": ["Hit", "NDCG"],
            "topk": [5, 10],
            "valid_metric": "NDCG@10",
        }
    return shared | question.settings


def _write_split(question: Question, sequential: bool, folder: pathlib.Path) -> None:
    """Writes RecBole's atomic files."""
    folder.mkdir(parents=True)
    train, seen = question.train, question.seen
    valid = zip(question.valid_users, question.valid_items, strict=True)
    test = zip(question.test_users, question.test_items, strict=True)
    parts: dict[str, Iterable[tuple[Any, ...]]]
    if sequential:
        columns = ["user_id:token", "item_id_list:token_seq", "item_id:token"]
        most = question.history_length

        def shown(items: np.ndarray) -> str:
            return " ".join(map(str, items[-most:]))

        parts = {
            "train": (
                (user, shown(items[:end]), items[end])
                for user in range(question.num_users)
                for items in [train.of(user)]
                for end in range(1, len(items))
            ),
            "valid": ((user, shown(train.of(user)), item) for user, item in valid),
            "test": ((user, shown(seen.of(user)), item) for user, item in test),
        }
    else:
        columns = ["user_id:token", "item_id:token"]
        parts = {
            "train": zip(train.users(), train.items, strict=True),
            "valid": valid,
            "test": test,
        }
    if question.rates:
        columns.append("label:float")
        # The labels of the test pairs stay with recalign; RecBole's own figure needs some of both.
        likes = {"train": question.train_likes, "valid": question.valid_likes}
        parts = {
            part: (
                (*pair, like)
                for pair, like in zip(
                    pairs, likes.get(part, np.arange(len(question.test_users)) % 2), strict=True
                )
            )
            for part, pairs in parts.items()
        }
    for part, rows in parts.items():
        _write_table(folder / f"{_NAME}.{part}.inter", columns, rows)
    features = question.features
    _write_table(
        folder / f"{_NAME}.item",
        ["item_id:token", "class:token_seq"],
        ((item, " ".join(map(str, features.of(item)))) for item in range(question.num_items)),
    )


def _write_table(path: pathlib.Path, columns: list[str], rows: Iterable[tuple[Any, ...]]) -> None:
    with path.open("w") as file:
        file.write("\t".join(columns) + "\n")
        file.writelines("\t".join(map(str, row)) + "\n" for row in rows)


def _trainer(name: str, settings: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    """(dataset, loaders, model, trainer)."""
    config = Config(name, _NAME, config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    loaders = data_preparation(config, dataset)
    model = get_model(name)(config, loaders[0].dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
    # One of RecBole's modules turns this on for all models: a third of the time of a step.
    torch.autograd.set_detect_anomaly(False)
    return dataset, loaders, model, trainer


def _pretrain(question: Question, settings: dict[str, Any]) -> str:
    """S3-Rec's first stage; returns the file that the second starts from."""
    epochs = min(question.settings["pretrain_epochs"], question.epochs)
    stage = {"train_stage": "pretrain", "pretrain_epochs": epochs, "save_step": epochs}
    _, loaders, _, trainer = _trainer(question.model, settings | stage)
    trainer.fit(loaders[0], show_progress=False)
    return trainer.saved_model_file


def _numbers(dataset: Any, field: str, count: int) -> np.ndarray:
    """RecBole's number of each of our users or items: int64 [count]."""
    numbers = np.zeros(count, np.int64)
    tokens = dataset.field2id_token[field]
    numbers[tokens[1:].astype(np.int64)] = np.arange(1, len(tokens))
    return numbers


def _rank(
    question: Question, model: Any, dataset: Any, sequential: bool, about: dict[str, Any]
) -> Answer:
    users = _numbers(dataset, "user_id", question.num_users)
    items = _numbers(dataset, "item_id", question.num_items)

    def score_users(batch: np.ndarray) -> np.ndarray:
        fields = {"user_id": torch.from_numpy(users[batch])}
        if sequential:
            histories = [question.seen.of(user)[-question.history_length :] for user in batch]
            padded = np.zeros((len(batch), question.history_length), np.int64)
            for row, history in enumerate(histories):
                padded[row, : len(history)] = items[history]
            fields["item_id_list"] = torch.from_numpy(padded)
            fields["item_length"] = torch.tensor([len(history) for history in histories])
        interaction = Interaction(fields).to(model.device)
        scores = model.full_sort_predict(interaction).view(len(batch), -1)
        return scores[:, items].cpu().numpy()

    return answer_items(question, score_users, about)


def _rate(question: Question, model: Any, dataset: Any, about: dict[str, Any]) -> Answer:
    users = _numbers(dataset, "user_id", question.num_users)[question.test_users]
    items = _numbers(dataset, "item_id", question.num_items)[question.test_items]
    scores = []
    for start in range(0, len(users), 4096):
        span = slice(start, start + 4096)
        pairs = {"user_id": torch.from_numpy(users[span]), "item_id": torch.from_numpy(items[span])}
        interaction = dataset.join(Interaction(pairs)).to(model.device)
        scores.append(model.predict(interaction).cpu().numpy())
    none = np.zeros(0)
    return Answer(none, none, np.concatenate(scores).astype(np.float64), about)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve())
