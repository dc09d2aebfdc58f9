from recalign.report.content import read
from tests.report.shop import RETRIEVAL, write_baselines, write_run


def test_a_folder_that_is_given_twice_counts_once(shop, run_directory, tmp_path):
    found = read([run_directory, run_directory.parent / "." / "ut", run_directory], None)
    assert [setup.label for setup in found.setups] == ["UT, 0.3M"]


def test_seeds_in_folders_of_one_name_are_told_apart_and_drawn_as_one_line(shop, tmp_path):
    folders = [tmp_path / f"seed{seed}" / "ut" for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        write_run(folder, shop, seed=seed, alone=True)
    path = folders[1] / "metrics.jsonl"
    path.write_text(path.read_text().replace('"loss": 5.0', '"loss": 7.0'))
    found = read(folders, None)
    (setup,) = found.setups
    assert dict(setup.facts)["directory"] == ("seed0/ut", "seed1/ut")
    assert [name for name, _ in found.samples] == ["UT, 0.3M: retrieval_shop"]
    # Losses of 5 and 7 at the first step.
    assert found.curves[0].summary == (
        "Training loss by training step. UT, 0.3M: 6 at step 10, 1.25 at step 40."
        " A bar is from the lowest to the highest seed."
    )


def test_a_model_of_two_folders_has_its_cost_in_both(tmp_path):
    folders = [write_baselines(tmp_path / name, {"sasrec": RETRIEVAL}) for name in ("a", "b")]
    cost = next(table for table in read(folders, None).other_tables if table.key == "cost")
    assert [row[0].text for row in cost.rows] == ["SASRec [a]", "SASRec [b]"]
