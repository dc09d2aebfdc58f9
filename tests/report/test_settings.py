from recalign.report.run import read_run
from recalign.report.settings import baselines_table, setup_of
from tests.report.shop import write_run


def test_how_to_run_a_row_again(shop, run_directory, tmp_path):
    other = write_run(tmp_path / "other", shop, seed=1)
    setup = setup_of("UT", [read_run(run_directory), read_run(other)])
    facts = dict(setup.facts)
    assert facts["directory"] == ("ut", "other")
    assert facts["versions"] == ("jax 9.9.9",)
    assert facts["device"] == ("4 × TPU v9",)
    assert facts["seed"] == ("0", "1")
    assert facts["again"][0] == (
        "recalign train --gin_file=ut/config.gin --gin.MODEL_DIR=\"'runs/again'\""
    )
    assert "RANDOM_SEED = 0" in setup.text


def test_how_the_baselines_were_made():
    table = baselines_table(
        [
            ("SASRec", {"library": "RecBole", "version": "1.2.1", "settings": {"epochs": 20}}),
            ("Popularity", {"library": "recalign"}),
        ]
    )
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["SASRec", "RecBole", "1.2.1", "epochs = 20"],
        ["Popularity", "recalign", "—", "—"],
    ]
    assert baselines_table([]) is None
