"""IDs of the log and of the catalogue that are written differently."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recalign.data.readers.columns import ITEM_ROLES, resolve_columns
from recalign.data.statistics import dataset_statistics
from recalign.errors import UserError
from recalign.report.dataset_tables import statistics_text
from tests.data.readers.reading import read_log

# log's ID, catalogue's ID, what joins them
PAIRS = {
    "zeros at the front": ("108775015", "0108775015", "zeros"),
    "a float column": ("123.0", "123", "integer"),
    "a spreadsheet's exponent": ("1.08775015e+08", "108775015", "integer"),
    "another prefix": ("i3", "SKU-3", "number"),
    "case": ("b00abc", "B00ABC", "case"),
    "hyphens": ("978-0-306-40615-7", "9780306406157", "letters"),
    "a path": ("/m/07s9rl0", "07s9rl0", "path"),
    "an address": ("https://shop.example/p/red-shoe", "red-shoe", "path"),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_no_overlap_is_refused_with_an_id_of_each_side_and_what_joins_them(kind, write):
    of_log, of_catalogue, repair = PAIRS[kind]
    log = write("log.csv", f"user,item\nu,{of_log}\nv,{of_log}\n")
    items = write("items.csv", f"item,title\n{of_catalogue},Red shoe\n")
    with pytest.raises(UserError) as error:
        read_log("csv", log, items)
    message = str(error.value)
    assert f"none of the log's 1 items is in it: the log has {of_log!r}" in message
    assert f"{of_catalogue!r}" in message and "\n" not in message
    suggested = message.split("--join_ids ")[1].split()[0]
    assert suggested == repair
    _, table, _ = read_log("csv", log, items, join_ids=suggested)
    assert (table.raw_ids, table.titles) == ([of_log], ["Red shoe"])


def test_integers_of_a_parquet_log_against_text_with_zeros(tmp_path, write):
    ids = [108775015, 108775044, 110065001]
    pq.write_table(
        pa.table({"customer_id": ["u"] * 3, "article_id": pa.array(ids, pa.int64())}),
        tmp_path / "log.parquet",
    )
    items = write("a.csv", "article_id,prod_name\n" + "".join(f"0{i},Top {i}\n" for i in ids))
    with pytest.raises(UserError, match="--join_ids zeros would join 3 of them, such as"):
        read_log("parquet", tmp_path / "log.parquet", items)
    _, table, _ = read_log("parquet", tmp_path / "log.parquet", items, join_ids="zeros")
    assert table.titles == ["Top 108775015", "Top 108775044", "Top 110065001"]


def test_nothing_joins_them(write):
    with pytest.raises(UserError, match="or leave --items out") as error:
        read_log(
            "csv", write("log.csv", "user,item\nu,a\n"), write("items.csv", "item,title\nb,B\n")
        )
    assert "--join_ids" not in str(error.value)


def test_part_of_the_items_is_a_warning_with_both_shares_that_stays(write, prepare_files):
    # Of four items one is missing, and with it 3 of 12 interactions.
    lines = "".join(f"u{user},{item}\n" for user in range(3) for item in ("007", "a", "b", "c"))
    dataset, said = prepare_files(
        write("log.csv", f"user,item\n{lines}"),
        items=write("items.csv", "item,title\na,A\nb,B\nc,C\n7,Seven\n"),
    )
    (warning,) = [line for line in said if "are not in it" in line]
    assert warning.startswith("warning: ")
    assert (
        "1 of the log's 4 items are not in it (25.0 %, with 25.0 % of the interactions)" in warning
    )
    assert "--join_ids zeros would join 1 of them, such as '007' and '7'" in warning
    assert warning in dataset.info["notes"]
    statistics = dataset_statistics(dataset)
    assert warning in statistics["notes"]


def test_a_repair_that_would_make_two_items_one_is_refused(write):
    log = write("log.csv", "user,item\nu,07\nu,7\n")
    items = write("items.csv", "item,title\n007,Seven\n")
    with pytest.raises(UserError, match="--join_ids zeros: '07' and '7' of the log would be one"):
        read_log("csv", log, items, join_ids="zeros")


def test_an_unknown_repair(write):
    path = write("log.csv", "user,item\nu,a\n")
    with pytest.raises(UserError, match="--join_ids 'magic' is none of zeros, case"):
        read_log("csv", path, join_ids="magic")


def test_the_text_of_stats_holds_what_was_noticed(write, prepare_files):
    dataset, _ = prepare_files(write("log.csv", "user,item\nu,a\nu,b\nu,c\n"))
    text = statistics_text("mine", dataset, 20)
    assert "noticed when it was prepared:" in text
    assert "warning:" in text and "no time column: the order of the file is taken for it" in text


def test_the_items_ids_in_another_column_are_pointed_out_and_can_be_named(write):
    """Both files have a `product_id`, but what the log calls so is the catalogue's `sku`."""
    log = write("log.csv", "user,product_id\nu,SKU1\nv,SKU2\nw,SKU2\n")
    items = write("items.csv", "product_id,sku,size,title\n1,SKU1,1,Tea\n2,SKU2,1,Cup\n")
    with pytest.raises(UserError) as error:
        read_log("csv", log, items)
    assert str(error.value).endswith(
        "none of the log's 2 items is in its column 'product_id', but 2 are in its column 'sku',"
        " such as 'SKU1': --item_column 'sku'"
    )
    _, table, report = read_log("csv", log, items, {"item": "sku"})
    assert report.interactions.columns["item"] == "product_id"
    assert report.items.columns["item"] == "sku" and table.titles == ["Tea", "Cup"]
    with pytest.raises(UserError, match=r"log.csv: no column 'ean' \(given as the item column\)"):
        read_log("csv", log, items, {"item": "ean"})


def test_the_items_ids_are_pointed_out_in_a_column_that_some_files_lack(tmp_path, write):
    log = write("log.csv", "user,item\nu,SKU1\nv,SKU2\n")
    write("items1.csv", "item,sku,title\n1,SKU1,Tea\n2,SKU2,Cup\n")
    write("items2.csv", "item,title\n3,Pot\n")
    with pytest.raises(UserError, match="2 are in its column 'sku', .*--item_column 'sku'"):
        read_log("csv", log, tmp_path / "items?.csv")


@pytest.mark.parametrize("header", ["id,name", "name:token,id:token"])
def test_a_catalogue_may_call_its_ids_id(header, write):
    log = write("log.csv", "user,artistID\nu,51\n")
    line = "51,Duran Duran" if header.startswith("id") else "Duran Duran,51"
    assert read_log("csv", log, write("i.csv", f"{header}\n{line}\n"))[1].titles == ["Duran Duran"]


def test_an_id_column_of_the_log_is_that_of_its_lines(write):
    with pytest.raises(UserError, match="no item column among 'id', 'user', 'what'"):
        read_log("csv", write("log.csv", "id,user,what\n1,u,a\n"))


def test_an_id_column_that_is_the_title_is_not_the_item_too(write):
    log = write("log.csv", "user,item\nu,Tea\n")
    items = write("items.csv", "id,size\nTea,1\n")
    with pytest.raises(UserError, match=r"items.csv: no item column among 'id', 'size'"):
        read_log("csv", log, items, {"title": "id"})


def test_the_items_ids_may_be_called_as_the_logs_users_are(write):
    log = write("log.csv", "id,asin\nu,B1\n")
    items = write("items.csv", "id,name\nB1,Tea\n")
    assert read_log("csv", log, items, {"user": "id"})[1].titles == ["Tea"]


def test_of_several_categories_the_preferred_one_is_taken():
    names = ["item", "categories", "genre", "category"]
    preferred = {"categories": "genre"}
    found, _ = resolve_columns(ITEM_ROLES, ["item"], names, {}, "items.csv", preferred)
    assert found == {"item": "item", "categories": "genre"}
