import pytest

from benchmarks.markdown import three_digits


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2281.4, "2,280"),
        (999.6, "1,000"),
        (100.4, "100"),
        (68.36, "68.4"),
        (3.0, "3"),
        (-0.00099746, "-0.000997"),
        (0.0, "0"),
    ],
)
def test_three_digits_count_and_there_is_no_exponent(value, text):
    assert three_digits(value) == text
