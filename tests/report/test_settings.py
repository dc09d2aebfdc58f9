from recalign.report.run import read_run
from recalign.report.settings import baselines_table, setup_of


def test_how_to_run_a_row_again(run_directory):
    setup = setup_of("UT", read_run(run_directory))
    facts = dict(setup.facts)
    assert facts["versions"] == "jax 9.9.9"
    assert facts["device"] == "4 × TPU v9"
    assert facts["seed"] == "0"
    assert facts["again"] == (
        "recalign train --gin_file=ut/config.gin --gin.MODEL_DIR=\"'runs/again'\""
    )
    assert "TRAIN_STEPS = 40" in setup.text


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
