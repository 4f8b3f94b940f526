"""Statements of lists have the conditions of the filters that are given, and no others."""

from caas.billing_database.filters import Walk, composed

LISTED = "select * from things where {given} order by {order} limit $1"


def test_without_a_filter_there_is_no_condition() -> None:
    given = {"customer = $": None, "paused": False}

    query, values = composed(LISTED, 50, given=given, along=Walk({"state": None}))

    assert query == "select * from things where true order by id desc limit $1"
    assert values == [50]


def test_a_value_that_counts_as_false_is_a_filter() -> None:
    query, values = composed("select {given}", given={"number = $": 0, "name = $": ""})

    assert query == "select number = $1 and name = $2"
    assert values == [0, ""]


def test_a_condition_may_name_its_value_several_times_or_have_none() -> None:
    given = {"paused": True, "vin = $ or other = $": "V1"}

    query, values = composed("select {given}", given=given)

    assert query == "select paused and vin = $1 or other = $1"
    assert values == ["V1"]


def test_a_list_is_read_along_the_columns_that_have_a_value() -> None:
    walk = Walk({"dealership": "Sol", "state": "ready", "model": None}, place=7)

    query, values = composed(LISTED, 50, given={"customer = $": 3}, along=walk)

    assert query == (
        "select * from things where customer = $2 and (dealership, state) >= ($3, $4)"
        " and (dealership, state, id) < ($3, $4, $5)"
        " order by dealership desc, state desc, id desc limit $1"
    )
    assert values == [50, 3, "Sol", "ready", 7]


def test_an_ascending_list_begins_after_its_place() -> None:
    walk = Walk({}, key="vin", place="V1", descending=False)

    query, values = composed(LISTED, 50, given={}, along=walk)

    assert query == "select * from things where (vin) > ($2) order by vin limit $1"
    assert values == [50, "V1"]
