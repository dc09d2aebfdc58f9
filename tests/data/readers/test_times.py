"""Times in any form, in a column of any name."""

import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalign.data.readers.times import PATTERNS, TimeFormat, fitting_formats
from recalign.errors import UserError
from tests.data.readers.reading import read_log

# 31 January 2014 and 3 March 2014, in UTC.
JANUARY, MARCH = 1391126400.0, 1393804800.0
NOON = 12 * 3600

FORMS = {
    "ISO": ("2014-01-31", "2014-03-03", 0),
    "with UTC behind it": ("2014-01-31 12:00:00 UTC", "2014-03-03 12:00:00 UTC", NOON),
    "with an offset": ("2014-01-31 14:00:00 +0200", "2014-03-03 14:00:00 +0200", NOON),
    "with a zone's name": ("2014-01-31 07:00:00 EST", "2014-03-03 07:00:00 EST", NOON),
    "American": ("1/31/2014 12:00", "3/3/2014 12:00", NOON),
    "American with a 12-hour clock": ("1/31/2014 12:00:00 PM", "3/3/2014 12:00:00 PM", NOON),
    "German": ("31.01.2014 12:00", "03.03.2014 12:00", NOON),
    "British": ("31/01/2014", "03/03/2014", 0),
    "of two digits": ("31-Jan-14", "03-Mar-14", 0),
    "slashes from the year on": ("2014/01/31 12:00:00", "2014/03/03 12:00:00", NOON),
    "in words": ("Jan 31, 2014", "Mar 3, 2014", 0),
    "Amazon's": ("01 31, 2014", "03 3, 2014", 0),
    "Twitter's": ("Fri Jan 31 12:00:00 +0000 2014", "Mon Mar 03 12:00:00 +0000 2014", NOON),
    "of mail": ("Fri, 31 Jan 2014 12:00:00 GMT", "Mon, 03 Mar 2014 12:00:00 GMT", NOON),
    "ISO with a 12-hour clock": ("2014-01-31 12:00 pm", "2014-03-03 12:00 pm", NOON),
    "digits of a day": ("20140131", "20140303", 0),
    "digits of a minute": ("201401311200", "201403031200", NOON),
    "digits of a second": ("20140131120000", "20140303120000", NOON),
    "a float of digits": ("20140131.0", "20140303.0", 0),
    "ordinals": ("January 31st, 2014", "March 3rd, 2014", 0),
    "of a web server": ("31/Jan/2014:12:00:00 +0000", "03/Mar/2014:12:00:00 +0000", NOON),
}


@pytest.mark.parametrize("name", ["purchase_date", "bought", "InvoiceDate", "t_dat", "Kaufdatum"])
@pytest.mark.parametrize("form", FORMS)
def test_dates_are_found_and_read(form, name, write):
    later, later_still, seconds = FORMS[form]
    header = f'user;item;"{name}";colour\n'
    path = write("log.csv", f'{header}u;a;"{later_still}";red\nu;b;"{later}";blue\n')
    log, _, report = read_log("csv", path)
    assert log.timestamp.tolist() == [MARCH + seconds, JANUARY + seconds]
    assert report.interactions.columns["time"] == name
    assert report.interactions.guessed
    assert "not used: colour" in report.interactions.notes


@pytest.mark.parametrize(
    ("unit", "values"),
    [("seconds", [1391126400, 1393804800]), ("milliseconds", [1391126400000, 1393804800000])],
)
def test_numbers_of_seconds_are_found_under_any_name_but_that_of_an_id(unit, values, write):
    first, second = values
    path = write(
        "log.csv", f"user,item,bought,order_id\nu,a,{first},{first}\nu,b,{second},{second}\n"
    )
    log, _, report = read_log("csv", path)
    assert log.timestamp.tolist() == [first, second]
    assert report.interactions.columns["time"] == "bought"


def test_a_spreadsheets_days_are_found_under_a_name_of_times_alone(write):
    path = write("log.csv", "user,item,order_date,volume\nu,a,41700.5,40000\nu,b,41671,40001\n")
    log, _, report = read_log("csv", path)
    assert log.timestamp.tolist() == [41700.5, 41671]
    assert report.interactions.columns["time"] == "order_date"
    _, _, report = read_log("csv", write("other.csv", "user,item,volume\nu,a,41700\nu,b,41671\n"))
    assert "time" not in report.interactions.columns


@pytest.mark.parametrize(
    ("pattern", "written", "seconds"), [("%Y%m%d", "20140131", JANUARY), ("%Y", "2014", 1388534400)]
)
def test_a_form_of_digits_that_is_given_counts(pattern, written, seconds, write):
    path = write("log.csv", f"user,item,time\nu,a,{written}\nu,b,1391126400\n")
    log, _, _ = read_log("csv", path, time_format=pattern)
    assert log.timestamp.tolist() == [seconds, 1391126400]


def test_days_and_months_that_cannot_be_told_apart_are_asked_for(write):
    path = write("log.csv", "user,item,when\nu,a,01/02/2014\nu,b,03/04/2014\n")
    with pytest.raises(UserError) as error:
        read_log("csv", path)
    assert "can be read in two ways" in str(error.value)
    assert "--time_format '%d/%m/%Y' or --time_format '%m/%d/%Y'" in str(error.value)
    log, _, _ = read_log("csv", path, time_format="%m/%d/%Y")
    assert log.timestamp[0] == datetime.datetime(2014, 1, 2, tzinfo=datetime.UTC).timestamp()


def test_a_later_line_tells_days_from_months(write):
    days = "".join(f"u,i{n},0{1 + n % 9}/03/2014\n" for n in range(1500))
    log, _, _ = read_log("csv", write("log.csv", f"user,item,day\n{days}u,last,14/03/2014\n"))
    assert log.timestamp[0] == datetime.datetime(2014, 3, 1, tzinfo=datetime.UTC).timestamp()


def test_two_columns_of_times_are_asked_about_unless_one_is_of_something_else(write):
    rows = "u,a,2014-01-02,2014-01-05\nu,b,2014-01-03,2014-01-06\n"
    with pytest.raises(UserError, match="'order_date', 'paid_date' could each be the time"):
        read_log("csv", write("two.csv", f"user,item,order_date,paid_date\n{rows}"))
    _, _, report = read_log("csv", write("one.csv", f"user,item,order_date,birth_date\n{rows}"))
    assert report.interactions.columns["time"] == "order_date"


def test_without_a_time_the_warning_names_what_was_not_used(write):
    _, _, report = read_log("csv", write("log.csv", "user,item,event,size\nu,a,buy,3\n"))
    assert report.interactions.notes[0] == (
        "warning: no time column: the order of the file is taken for it (not used: size; name it"
        " with --time_column)"
    )


def test_times_of_parquet_in_nanoseconds_and_with_a_zone(tmp_path):
    nanoseconds = pa.array([1391126400000000001, 1393804800000000000], pa.timestamp("ns"))
    zoned = pa.array([1391126400, 1393804800], pa.timestamp("s", "Europe/Berlin"))
    for name, column in (("a", nanoseconds), ("b", zoned)):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"user": ["u", "u"], "item": ["x", "y"], "when": column}), path)
        log, _, _ = read_log("parquet", path)
        assert log.timestamp.tolist() == [JANUARY, MARCH]


@pytest.mark.parametrize("form", ["%d.%m", "31.12.2014", "%Q", "%"])
def test_a_form_that_is_none(form, write):
    path = write("log.csv", "user,item,time\nu,a,1\n")
    with pytest.raises(UserError, match="--time_format"):
        read_log("csv", path, time_format=form)


@given(
    st.datetimes(datetime.datetime(1971, 1, 1), datetime.datetime(2037, 1, 1)),
    st.sampled_from([pattern for pattern in PATTERNS if "%z" not in pattern]),
)
def test_every_form_reads_back_what_it_wrote(moment, pattern):
    text = moment.strftime(pattern)
    expected = datetime.datetime.strptime(text, pattern).replace(tzinfo=datetime.UTC).timestamp()
    assert TimeFormat(pattern).seconds(text) == expected
    assert expected in {form.seconds(text) for form in fitting_formats([text])}
