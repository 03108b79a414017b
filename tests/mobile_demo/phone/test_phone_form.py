"""A bundle for rows of a table is a form on the phone page, made from its manifest."""

import contextlib

import pytest

from edge_runtime import load


def fields(phone):
    return phone.locator("#fields input").all()


def test_the_form_has_the_manifests_columns_filled_with_a_golden_case(table_url, phone):
    phone.ready(table_url)
    assert phone.locator("#fields label").all_inner_texts() == ["radius, mm", "texture", "age, years"]
    assert [one.input_value() for one in fields(phone)] == ["10", "4", "30"]
    assert phone.locator("#title").inner_text() == phone.sentence("title_numbers")
    assert phone.locator("#pictures").is_hidden()


def test_its_answer_is_the_runtimes_without_a_request_and_says_that_the_numbers_stay(table_url, table, phone):
    with contextlib.closing(load(table)) as predictor:
        theirs = predictor.predict([12.5, -3.0, 41.0]).value
    phone.ready(table_url)
    phone.wait_for_timeout(500)  # the service worker keeps its files
    asked = []
    phone.context.on("request", lambda request: asked.append(request.url))
    for field, value in zip(fields(phone), ("12.5", "-3", "41"), strict=True):
        field.fill(value)
    phone.locator("#numbers button").click()
    phone.locator("#answer:not([hidden])").wait_for()
    assert theirs == 48.5
    assert phone.locator("#said").inner_text() == "48,50 mm"
    assert "Sayıların telefonundan çıkmaz" in phone.locator("#where").inner_text()
    assert phone.locator("#right").is_hidden()  # a number is not right or wrong
    assert asked == []
    assert phone.problems == []


def test_an_empty_field_is_asked_for_and_nothing_is_answered(table_url, phone):
    phone.ready(table_url)
    fields(phone)[1].fill("")
    phone.locator("#numbers button").click()
    assert phone.evaluate("document.querySelector('#fields input:invalid').name") == "column-1"
    assert phone.locator("#answer").is_hidden()


@pytest.mark.parametrize("language", ["en", "tr"])
def test_its_golden_case_and_its_speed_test_pass(table_url, phone, language):
    phone.ready(f"{table_url}?lang={language}")
    phone.locator("#checks summary").click()
    phone.locator("#check").click()
    phone.locator('#findings li[data-finding*="\\"ok\\":true"]').wait_for()
    phone.locator("#speed summary").click()
    phone.locator("#phone").fill("Redmi Note 12")
    phone.locator("#start").click()
    phone.get_by_text(phone.sentence("speed_kept", language)).wait_for()
    assert phone.problems == []
